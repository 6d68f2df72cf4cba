package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
)

// maxStdinBytes bounds a message read from standard input. Hex encoding doubles it, and a server accepts 5 MiB.
const maxStdinBytes = 2 << 20

func (a *app) sendCommand() *cobra.Command {
	text := ""
	cmd := &cobra.Command{
		Use: "send USER...", Short: "send one message", Args: args(1, -1, "one name or more"),
		Long: `Sends one message, given on standard input or with -m, to one user or more. Others on this machine can see the text of -m
in the list of its processes (ps), and your shell may keep it. They cannot see what is read from standard input.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.send(cmd, names, text, cmd.Flags().Changed("message"))
		},
	}
	cmd.Flags().StringVarP(&text, "message", "m", "", "the text, which other users of this machine can see (ps); without it, standard input is read to its end")
	return cmd
}

func (a *app) send(cmd *cobra.Command, names []string, text string, given bool) error {
	_, m, err := a.messenger()
	if err != nil {
		return err
	}
	plaintext := []byte(text)
	if !given {
		if plaintext, err = io.ReadAll(io.LimitReader(a.in, maxStdinBytes+1)); err != nil {
			return err
		}
		if len(plaintext) > maxStdinBytes {
			return errors.New("a message can have at most 2 MiB")
		}
	}
	answer, err := m.Send(cmd.Context(), plaintext, names...)
	if err != nil {
		return err
	}
	a.say("sent %s", oneLine(answer.MessageID))
	return nil
}

func (a *app) historyCommand() *cobra.Command {
	with, limit := "", 0
	cmd := &cobra.Command{
		Use: "history", Short: "show the latest messages", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("-n must be at least 1")
			}
			_, m, err := a.messenger()
			if err != nil {
				return err
			}
			list, err := latest(cmd.Context(), m, with, limit, math.MaxInt64)
			for _, in := range list {
				a.say("%s  %s", in.Timestamp.Local().Format("2006-01-02 15:04:05"), line(in, m.Username))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&with, "with", "", "only messages to and from this user")
	cmd.Flags().IntVarP(&limit, "number", "n", 20, "how many")
	return cmd
}

// latest finds the last messages with a user, or with anybody if with is empty, oldest first: up to limit, and all above a position.
func latest(ctx context.Context, m *client.Messenger, with string, limit int, above int64) ([]client.Incoming, error) {
	const page = 50
	var found []client.Incoming
	wanted := 0
	for before := int64(0); ; {
		h, err := m.History(ctx, before, page)
		if err != nil {
			return nil, err
		}
		lowest := int64(0)
		for _, message := range h.Messages {
			lowest = message.Seq
			if with == "" || concerns(message, with, m.Username) {
				found = append(found, m.Open(message))
				if message.Seq > above {
					wanted = len(found)
				}
			}
		}
		enough := len(found) >= limit && lowest <= above
		if enough || h.Before == nil || (before > 0 && *h.Before >= before) {
			break
		}
		before = *h.Before
	}
	found = found[:min(max(limit, wanted), len(found))]
	slices.Reverse(found)
	return found, nil
}

// concerns reports whether a message was exchanged between two users, whoever else received it.
func concerns(message api.Message, other, me string) bool {
	if api.SameUsername(message.Sender, other) {
		return true
	}
	return api.SameUsername(message.Sender, me) &&
		slices.ContainsFunc(message.Recipients, func(r string) bool { return api.SameUsername(r, other) })
}

// line formats a message as one line.
func line(in client.Incoming, me string) string {
	from := shownName(in.Sender)
	var others []string
	for _, name := range in.Recipients {
		if !api.SameUsername(name, me) && !api.SameUsername(name, in.Sender) {
			others = append(others, shownName(name))
		}
	}
	if len(others) > 0 {
		from += " to " + strings.Join(others, ", ")
	}
	if in.Fault != nil {
		return fmt.Sprintf("%s: [%s]", from, oneLine(in.Fault.Error()))
	}
	return from + ": " + oneLine(string(in.Plaintext))
}
