package networks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
)

// account is a user of the lab.
type account struct {
	name, token string
	// home is the user's folder.
	home string
	api  *client.Client
}

// keyFile is where a user's folder has the private key.
const keyFile = "key.pem"

// newAccount registers a user over the clean path: with the command line, if that is what will be used, for it keeps keys of its own.
func (l *Lab) newAccount(ctx context.Context, withCommandLine bool) (a account, err error) {
	a.name = fmt.Sprint("Reader", l.accounts.Add(1))
	if a.home, err = os.MkdirTemp(l.folder, a.name+"-"); err != nil {
		return a, err
	}
	if withCommandLine {
		cmd := exec.CommandContext(ctx, l.Tools.CommandLine, "register", a.name) //nolint:gosec // of this repository
		cmd.Env = append(os.Environ(), commandLineEnv(a.home, l.URL())...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return a, fmt.Errorf("register %s: %w: %s", a.name, err, out)
		}
		return a, nil
	}
	if a.api, err = client.New(l.URL()); err != nil {
		return a, err
	}
	session, err := a.api.Register(ctx, a.name, password, l.public)
	if err != nil {
		return a, err
	}
	a.token = session.Token
	text, err := envelope.EncodePrivateKey(l.key)
	return a, errors.Join(err, os.WriteFile(filepath.Join(a.home, keyFile), []byte(text), 0o600))
}

// commandLineEnv is the environment of the command line.
func commandLineEnv(home, server string) []string {
	return []string{"SEALPOST_HOME=" + home, "SEALPOST_SERVER=" + server, "SEALPOST_PASSWORD=" + password}
}

// send sends a text to a user: sealed, or as it is, for clients that cannot open anything.
func (l *Lab) send(ctx context.Context, to account, id, text string, sealed bool) error {
	r := api.SendRequest{EncryptedContent: text, IV: "00", RecipientKeys: map[string]string{to.name: "none"}, ClientMessageID: id}
	if sealed {
		var err error
		if r, err = l.sender.Seal(ctx, []byte(text), id, to.name); err != nil {
			return err
		}
	}
	_, err := l.sender.SendSealed(ctx, r)
	return err
}

// moveProfile makes the command line find the server at another address: there it was registered over the clean path.
func (a account) moveProfile(server string) error {
	found, err := filepath.Glob(filepath.Join(a.home, "*", "*", "profile.json"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%d profiles of %s: %w", len(found), a.name, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	var profile map[string]any
	if err := json.Unmarshal(text, &profile); err != nil {
		return err
	}
	profile["server"] = server
	if text, err = json.Marshal(profile); err != nil {
		return err
	}
	return os.WriteFile(found[0], text, 0o600)
}
