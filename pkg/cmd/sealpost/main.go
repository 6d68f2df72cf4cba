// Command sealpost is the command line of Sealpost: accounts, keys, and encrypted conversations in a terminal.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{terminal: terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}}
	status := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// terminal is where a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// run runs one command line and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	var wrongUse *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrongUse):
		a.note("sealpost: %s", err)
		return exitUsage
	}
	a.note("sealpost: %s", explain(err))
	return exitFailure
}

// untilInterrupted maps the error of a command that runs until it is interrupted: an interrupt is success.
func untilInterrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// explain turns an error into something that the user can act on.
func explain(err error) string {
	switch {
	case errors.Is(err, client.ErrOutcomeUnknown):
		return "it is not known whether the server has done it: " + because(err)
	case errors.Is(err, client.ErrRegistered):
		return "there is an account with this key already, but no session could be opened: " + because(err)
	}
	return because(err)
}

func because(err error) string {
	var answered *api.Error
	var broken *client.PathError
	var changed *client.KeyChangedError
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, client.ErrNoConnection):
		return "the server cannot be reached: is it running, and is --server right?"
	case client.IsCode(err, api.CodeTokenExpired), client.IsCode(err, api.CodeTokenRevoked), client.IsCode(err, api.CodeInvalidToken):
		return "the session has ended: log in again with `sealpost login`"
	case errors.As(err, &changed):
		return keyWarning(changed)
	case errors.As(err, &broken) && broken.Server != "":
		return oneLine(fmt.Sprintf("%s: use --server %s", broken, broken.Server))
	case errors.As(err, &broken):
		return oneLine(broken.Error())
	case errors.As(err, &answered):
		return oneLine(answered.Message)
	}
	return printable(err.Error())
}

func keyWarning(e *client.KeyChangedError) string {
	name := shownName(e.Username)
	return strings.Join([]string{
		"WARNING: THE KEY OF " + strings.ToUpper(name) + " HAS CHANGED.",
		"Either " + name + " has a new key, or somebody is trying to read your messages. Nothing was sent.",
		"  known key:   " + oneLine(e.Pinned),
		"  offered key: " + oneLine(e.Offered),
		"Compare safety numbers with " + name + " by another way, with `sealpost keys verify " + name + "` on both sides.",
		"If they agree, accept the new key with `sealpost keys verify " + name + " --accept 'NUMBER'`.",
	}, "\n")
}

const about = `sealpost talks to a Sealpost server: it keeps your keys, encrypts what you send and decrypts what you receive.

Passwords are asked for on the terminal. For scripts, they are read from the files named by --password-file and
--passphrase-file, or from SEALPOST_PASSWORD and SEALPOST_PASSPHRASE. The passphrase encrypts your keys on this machine;
unless you give another one, it is your password.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "sealpost", Short: "end-to-end encrypted messages", Long: about, SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q: see `sealpost --help`", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w: see `%s --help`", err, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.server, "server", os.Getenv("SEALPOST_SERVER"), "address of the server; default "+defaultServer+", or the profile's")
	flags.StringVar(&a.user, "user", os.Getenv("SEALPOST_USER"), "which of your profiles to use; not needed if there is one")
	flags.StringVar(&a.home, "home", os.Getenv("SEALPOST_HOME"), "folder of the profiles; default sealpost in your configuration folder")
	flags.StringVar(&a.passwordFile, "password-file", "", "file that holds the password")
	flags.StringVar(&a.passphraseFile, "passphrase-file", "", "file that holds the passphrase of the keys, if it is not the password")
	root.AddCommand(a.registerCommand(), a.loginCommand(), a.logoutCommand(), a.chatCommand(), a.sendCommand(), a.historyCommand(), a.keysCommand(),
		versionCommand())
	return root
}

// args requires between least and most arguments; what names them in the error.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if len(given) < least || (most >= 0 && len(given) > most) {
			return usagef("%s takes %s: see `%s --help`", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}
