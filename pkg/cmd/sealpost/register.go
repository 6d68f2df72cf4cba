package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

func (a *app) registerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "register NAME", Short: "make keys and open an account", Args: args(1, 1, "one name"),
		Long: `Makes keys and opens an account for them. If it is not known what came of that, because the server's answer was lost, the
keys are kept: run it again, with the same password, to finish.`,
		RunE: func(cmd *cobra.Command, names []string) error { return a.register(cmd.Context(), names[0]) },
	}
}

// registration is one run of register.
type registration struct {
	*app
	p        *profile
	password string
	// passphrases are the forms of the passphrase of the keys; new keys get the first.
	passphrases []string
	ring        *keyfile.Ring
	// made is what this run has added to the machine, in order. If the name turns out to be taken, exactly that is removed.
	made []string
}

func (a *app) register(ctx context.Context, name string) error {
	p, err := a.newProfile(name)
	if err != nil {
		return err
	}
	unlock, err := a.lock(ctx, p)
	if err != nil {
		return err
	}
	defer unlock()
	r := &registration{app: a, p: p}
	begun := exists(p.path(keyFile))
	if begun && p.Token != "" {
		return fmt.Errorf("there are keys of %s on this machine already, in %s: log in with `sealpost login %s`", name, p.dir, name)
	}
	if err := r.ask(begun); err != nil {
		return err
	}
	if begun {
		err = r.loadKeys()
	} else {
		err = r.makeKeys()
	}
	if err != nil {
		return err
	}
	return r.open(ctx)
}

// ask asks for the secrets needed to make keys, or to open the keys of an earlier run.
func (r *registration) ask(begun bool) (err error) {
	if begun {
		r.note("An earlier registration is gone on with: its keys are in %s.", r.p.dir)
		r.password, err = r.app.password("The password that you chose: ")
	} else {
		r.password, err = r.newPassword()
	}
	passphrase := r.password
	if err == nil && r.passphraseGiven() {
		passphrase, err = r.passphrase("")
	}
	r.passphrases = keyPassphrases(passphrase)
	return err
}

func (r *registration) loadKeys() (err error) {
	r.ring, err = keyfile.Load(r.p.path(keyFile), r.passphrases...)
	if errors.Is(err, keyfile.ErrWrongPassphrase) {
		return fmt.Errorf("%w: the keys in %s were made with another one", err, r.p.path(keyFile))
	}
	return err
}

// makeKeys makes keys and stores them before anybody can seal a message for them.
func (r *registration) makeKeys() error {
	r.note("making your keys …")
	private, err := envelope.GenerateKey(r.keyBits)
	if err != nil {
		return err
	}
	r.ring = &keyfile.Ring{Keys: []keyfile.Key{{Version: 1, Private: private}}}
	if !exists(r.p.dir) {
		r.made = append(r.made, r.p.dir)
	}
	if !exists(r.p.path(profileFile)) {
		r.made = append(r.made, r.p.path(profileFile))
		if err := r.p.save(); err != nil {
			return r.discard(err)
		}
	}
	r.made = append(r.made, r.p.path(keyFile))
	if err := keyfile.Save(r.p.path(keyFile), r.passphrases[0], r.ring, r.workFactor); err != nil {
		return r.discard(err)
	}
	return nil
}

// open opens the account, or a session if an earlier run has opened the account.
func (r *registration) open(ctx context.Context) error {
	public, err := envelope.EncodePublicKey(&r.ring.Current().Private.PublicKey)
	if err != nil {
		return err
	}
	c, err := r.client(r.p)
	if err != nil {
		return err
	}
	session, err := c.Register(ctx, r.p.Username, r.password, public)
	switch {
	case err == nil:
	case errors.Is(err, client.ErrRegistered):
		r.note("Your keys are kept in %s. To finish, run `sealpost login %s`.", r.p.dir, r.p.Username)
		return err
	case errors.Is(err, client.ErrOutcomeUnknown):
		r.note("Your keys are kept in %s, for the account may have been made. To finish, run `sealpost register %s` again, with the same password.",
			r.p.dir, r.p.Username)
		return err
	case len(r.made) == 0:
		r.note("The keys in %s are left as they were.", r.p.dir)
		return err
	default:
		return r.discard(err)
	}
	r.p.use(session)
	if err := r.p.save(); err != nil {
		return err
	}
	r.say("You are %s on %s. Your keys are in %s: without them and their passphrase nobody can read your messages, you included.",
		r.p.Username, r.p.Server, r.p.path(keyFile))
	return nil
}

// discard removes what this run has made, because of err.
func (r *registration) discard(err error) error {
	for i := len(r.made) - 1; i >= 0; i-- {
		if gone := os.Remove(r.made[i]); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}
