package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "show, rotate and verify keys",
		Args: args(0, 0, "one of show, rotate, verify"),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	accept := ""
	verify := &cobra.Command{
		Use: "verify USER", Short: "show the safety number to compare with USER", Args: args(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, names []string) error { return a.verifyKey(cmd, names[0], accept) },
	}
	verify.Flags().StringVar(&accept, "accept", "", "trust the key of this safety number (60 digits, in quotes or without blanks), which you have compared")
	cmd.AddCommand(
		&cobra.Command{
			Use: "show [USER]", Short: "show the public key of a user, or yours", Args: args(0, 1, "at most one name"),
			RunE: a.showKey,
		},
		&cobra.Command{
			Use: "rotate", Short: "make a new key; old messages stay readable", Args: args(0, 0, "no arguments"),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.rotateKey(cmd) },
		},
		verify,
	)
	return cmd
}

func (a *app) showKey(cmd *cobra.Command, names []string) error {
	p, err := a.open()
	if err != nil {
		return err
	}
	name := p.Username
	if len(names) == 1 {
		name = names[0]
	}
	c, err := a.client(p)
	if err != nil {
		return err
	}
	key, err := c.UserKey(cmd.Context(), name)
	if err != nil {
		return err
	}
	a.say("%s, key version %d, since %s\nfingerprint %s\n%s", shownName(key.Username), key.Version,
		key.UpdatedAt.Local().Format("2006-01-02 15:04"), oneLine(key.Fingerprint), printable(key.PublicKey))
	return nil
}

func (a *app) rotateKey(cmd *cobra.Command) error {
	p, err := a.open()
	if err != nil {
		return err
	}
	unlock, err := a.lock(cmd.Context(), p)
	if err != nil {
		return err
	}
	defer unlock()
	passphrase, err := a.passphrase("Passphrase of your keys: ")
	if err != nil {
		return err
	}
	forms := keyPassphrases(passphrase)
	keys, err := keyfile.Load(p.path(keyFile), forms...)
	if err != nil {
		return err
	}
	password, err := a.password("Password of " + p.Username + ": ")
	if err != nil {
		return err
	}
	c, err := a.client(p)
	if err != nil {
		return err
	}
	m := &client.Messenger{Client: c, Username: p.Username, Keys: keys}
	if keys.Candidate() == nil {
		a.note("making a new key …")
	} else {
		a.note("going on with the key of an earlier rotation, of which it is not known whether the server has it …")
	}
	version, err := m.RotateKey(cmd.Context(), password, a.keyBits, func(r *keyfile.Ring) error {
		return keyfile.Save(p.path(keyFile), forms[0], r, a.workFactor)
	})
	if err != nil {
		a.note("All your keys are kept, the new one, too. To finish, run `sealpost keys rotate` again.")
		return err
	}
	a.say("Your key is now version %d. Those you talk to will be warned, and may ask for your safety number.", version)
	return nil
}

func (a *app) verifyKey(cmd *cobra.Command, name, accept string) error {
	p, m, err := a.messenger()
	if err != nil {
		return err
	}
	// The safety number must be that of the keys the server gives out.
	if err := m.ResolveCandidates(cmd.Context()); err != nil {
		return err
	}
	public, found, err := m.TrustedKey(cmd.Context(), name)
	var changed *client.KeyChangedError
	if err != nil && !errors.As(err, &changed) {
		return err
	}
	other := shownName(found.Username)
	number, err := envelope.SafetyNumber(p.Username, &m.Keys.Current().Private.PublicKey, found.Username, public)
	if err != nil {
		return err
	}
	if accept != "" {
		return a.acceptKey(m, name, number, accept, changed)
	}
	a.say("Safety number of %s and %s:\n\n  %s\n\nCompare it with %s by another way, in person or by telephone. If both see the same, the server has given each of you the other's true key.",
		p.Username, other, number, other)
	if changed != nil {
		return changed
	}
	return nil
}

// acceptKey trusts the key that the server gives now if its safety number is the one that was compared: the server may give another key each
// time.
func (a *app) acceptKey(m *client.Messenger, name, number, compared string, changed *client.KeyChangedError) error {
	digits := func(text string) string { return strings.Join(strings.Fields(text), "") }
	if digits(compared) != digits(number) {
		return fmt.Errorf("nothing is accepted: the server gives a key of %s now whose safety number is\n\n  %s\n\nand not the one that you compared", shownName(name), number)
	}
	if changed == nil {
		a.say("The key of %s is trusted already.", shownName(name))
		return nil
	}
	if err := m.Pins.Pin(name, changed.Offered); err != nil {
		return err
	}
	a.say("The new key of %s is trusted from now on.", shownName(name))
	return nil
}
