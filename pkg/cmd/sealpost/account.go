package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

func (a *app) say(format string, args ...any) { _, _ = fmt.Fprintf(a.out, format+"\n", args...) }

// note says something that is not the command's result.
func (a *app) note(format string, args ...any) { _, _ = fmt.Fprintf(a.err, format+"\n", args...) }

func (a *app) registerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "register NAME", Short: "make keys and open an account", Args: args(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, names []string) error { return a.register(cmd, names[0]) },
	}
}

func (a *app) register(cmd *cobra.Command, name string) error {
	p, err := a.newProfile(name)
	if err != nil {
		return err
	}
	if exists(p.path(keyFile)) {
		return fmt.Errorf("there are keys of %s on this machine already, in %s: log in with `sealpost login %s`", name, p.dir, name)
	}
	password, err := a.newPassword()
	if err != nil {
		return err
	}
	passphrase := password
	if a.passphraseGiven() {
		if passphrase, err = a.passphrase(""); err != nil {
			return err
		}
	}
	a.note("making your keys …")
	private, err := envelope.GenerateKey(a.keyBits)
	if err != nil {
		return err
	}
	public, err := envelope.EncodePublicKey(&private.PublicKey)
	if err != nil {
		return err
	}
	c, err := p.client()
	if err != nil {
		return err
	}
	// The keys are kept before anybody can seal a message for them.
	ring := &keyfile.Ring{Keys: []keyfile.Key{{Version: 1, Private: private}}}
	if err := errors.Join(p.save(), keyfile.Save(p.path(keyFile), passphrase, ring, a.workFactor)); err != nil {
		return err
	}
	session, err := c.Register(cmd.Context(), name, password, public)
	var refused *api.Error
	if errors.As(err, &refused) {
		return errors.Join(err, os.RemoveAll(p.dir))
	}
	if err != nil { // the account may be there all the same
		a.note("Try `sealpost login %s` later. If there is no such account, remove %s and register again.", name, p.dir)
		return err
	}
	p.Token = session.Token
	if err := p.save(); err != nil {
		return err
	}
	a.say("You are %s on %s. Your keys are in %s: without them and their passphrase nobody can read your messages, you included.",
		name, p.Server, p.path(keyFile))
	return nil
}

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
	password, err := a.password("Password of " + p.Username + ": ")
	if err != nil {
		return err
	}
	c, err := client.New(p.Server)
	if err != nil {
		return err
	}
	session, err := c.Login(cmd.Context(), p.Username, password)
	if err != nil {
		return err
	}
	p.Token, p.Username = session.Token, session.Username
	if err := p.save(); err != nil {
		return err
	}
	a.say("You are logged in as %s on %s.", p.Username, p.Server)
	if !exists(p.path(keyFile)) {
		a.note("Your keys are not on this machine. Copy them to %s to read and send messages.", p.path(keyFile))
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
	if p.Token == "" {
		return errors.New("there is no session to end")
	}
	c, err := p.client()
	if err != nil {
		return err
	}
	end := c.Logout
	if all {
		end = c.LogoutAll
	}
	// A session that has ended by itself is what was asked for.
	if err := end(cmd.Context()); err != nil && !client.IsCode(err, api.CodeTokenExpired) && !client.IsCode(err, api.CodeTokenRevoked) {
		return err
	}
	p.Token = ""
	if err := p.save(); err != nil {
		return err
	}
	a.say("%s is logged out.", p.Username)
	return nil
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
