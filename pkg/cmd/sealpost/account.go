package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

func (a *app) say(format string, args ...any) { _, _ = fmt.Fprintf(a.out, format+"\n", args...) }

// note prints something that is not the command's result.
func (a *app) note(format string, args ...any) { _, _ = fmt.Fprintf(a.err, format+"\n", args...) }

func (a *app) loginCommand() *cobra.Command {
	return &cobra.Command{
		Use: "login [NAME]", Short: "open a new session", Args: args(0, 1, "at most one name"),
		RunE: func(cmd *cobra.Command, names []string) error { return a.login(cmd, names) },
	}
}

func (a *app) login(cmd *cobra.Command, names []string) error {
	if len(names) == 1 {
		a.user = names[0]
	}
	p, err := a.open()
	if err != nil && len(names) == 1 {
		p, err = a.newProfile(names[0])
	}
	if err != nil {
		return err
	}
	unlock, err := a.lock(cmd.Context(), p)
	if err != nil {
		return err
	}
	defer unlock()
	password, err := a.password("Password of " + p.Username + ": ")
	if err != nil {
		return err
	}
	anew := *p
	anew.Token = ""
	c, err := a.client(&anew)
	if err != nil {
		return err
	}
	session, err := c.Login(cmd.Context(), p.Username, password)
	if err != nil {
		if client.IsCode(err, api.CodeInvalidCredentials) && exists(p.path(keyFile)) {
			a.note("If you have tried to register and were not told what came of it, run `sealpost register %s` again: your keys are kept.", p.Username)
		}
		return err
	}
	p.use(session)
	if err := p.save(); err != nil {
		return err
	}
	a.say("You are logged in as %s on %s.", p.Username, p.Server)
	if !exists(p.path(keyFile)) {
		a.note("Your keys are not on this machine. Copy them to %s to read and send messages.", p.path(keyFile))
		return nil
	}
	return a.checkKeys(cmd.Context(), p, c, password)
}

// checkKeys warns of keys that do not belong to the account, as after a registration that failed. It does not ask for their
// passphrase: it skips keys that the password does not open.
func (a *app) checkKeys(ctx context.Context, p *profile, c *client.Client, password string) error {
	ring, err := keyfile.Load(p.path(keyFile), keyPassphrases(password)...)
	if errors.Is(err, keyfile.ErrWrongPassphrase) {
		return nil
	}
	if err != nil {
		return err
	}
	var keys []*rsa.PublicKey
	for _, key := range ring.Keys {
		keys = append(keys, &key.Private.PublicKey)
	}
	if had, err := c.HadKey(ctx, p.Username, keys...); err == nil && !had {
		a.note("WARNING: the keys in %s are none of this account's. Move them away, and copy yours there from the machine they are on.", p.path(keyFile))
	}
	return nil
}

func (a *app) logoutCommand() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use: "logout", Short: "end the session; keys stay on this machine", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.logout(cmd, all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all sessions of the account, on all machines")
	return cmd
}

func (a *app) logout(cmd *cobra.Command, all bool) error {
	p, err := a.open()
	if err != nil {
		return err
	}
	unlock, err := a.lock(cmd.Context(), p)
	if err != nil {
		return err
	}
	defer unlock()
	if p.Token == "" {
		return errors.New("there is no session to end")
	}
	c, err := a.client(p)
	if err != nil {
		return err
	}
	if err := a.end(cmd.Context(), c, all); err != nil {
		return err
	}
	p.Token = ""
	if err := p.save(); err != nil {
		return err
	}
	a.say("%s is logged out.", p.Username)
	return nil
}

// end ends the session, or all sessions of the account.
func (a *app) end(ctx context.Context, c *client.Client, all bool) error {
	end := c.Logout
	if all {
		end = c.LogoutAll
	}
	err := end(ctx)
	ended := client.IsCode(err, api.CodeTokenExpired) || client.IsCode(err, api.CodeTokenRevoked)
	switch {
	case ended && all: // this session has ended; the others are unknown
		return errors.New("this session has ended, and others may be open still: log in with `sealpost login`, and end all again")
	case ended: // expired, or ended by an earlier try: that is what was asked for
		return nil
	case errors.Is(err, client.ErrOutcomeUnknown):
		a.note("The session may be open still. Run the command again to be sure.")
	}
	return err
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "tell which build this is", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			version := "(devel)"
			if info, ok := debug.ReadBuildInfo(); ok {
				version = info.Main.Version + " " + info.GoVersion
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "sealpost", version)
			return err
		},
	}
}
