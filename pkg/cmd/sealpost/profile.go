package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
	"github.com/sealpost/sealpost/pkg/client/lockedfile"
)

const (
	defaultServer = "http://localhost:3001"
	profileFile   = "profile.json"
	keyFile       = "keys.age"
	pinFile       = "known_keys.json"
	cursorFile    = "cursor.json"
)

// app is the state that all commands share.
type app struct {
	terminal
	server, user, home           string
	passwordFile, passphraseFile string
	// These are 0, for the default, except in tests, which must be fast.
	keyBits, workFactor int
	patience            time.Duration
}

// profile is one user on one server, and the folder with its files.
type profile struct {
	dir      string
	Server   string `json:"server"`
	Username string `json:"username"`
	// Token is the current session's, empty after a logout.
	Token string `json:"token"`
}

func (p *profile) path(name string) string { return filepath.Join(p.dir, name) }

// use takes over a new session. The server may write the name in other cases, and in no other way.
func (p *profile) use(s api.SessionResponse) {
	p.Token = s.Token
	if api.ValidUsername(s.Username) && api.SameUsername(s.Username, p.Username) {
		p.Username = s.Username
	}
}

func (p *profile) save() error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return lockedfile.Write(p.path(profileFile), append(text, '\n'))
}

// lock excludes other commands that change the profile's session or keys until unlock is called, and rereads the profile. The lock
// file is beside the folder, because the folder may be removed.
func (a *app) lock(ctx context.Context, p *profile) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(p.dir), 0o700); err != nil {
		return nil, err
	}
	release, err := lockedfile.Lock(ctx, p.dir, func() { a.note("waiting for another command that changes this profile …") })
	if err != nil {
		return nil, err
	}
	unlock = func() { _ = release() } // the process ends soon, and releases the lock
	stored, err := readProfile(p.dir)
	switch {
	case err == nil:
		p.Username, p.Token = stored.Username, stored.Token
	case !errors.Is(err, fs.ErrNotExist):
		unlock()
		return nil, err
	}
	return unlock, nil
}

func (a *app) homeDir() (string, error) {
	if a.home != "" {
		return a.home, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no folder for profiles: use --home: %w", err)
	}
	return filepath.Join(dir, "sealpost"), nil
}

// newProfile returns a user's profile on this machine, whether or not it has files yet.
func (a *app) newProfile(username string) (*profile, error) {
	if !api.ValidUsername(username) {
		return nil, usagef("%q cannot be a username: 3 to 30 letters, digits and underscores", username)
	}
	u, err := parseServer(cmp.Or(a.server, defaultServer))
	if err != nil {
		return nil, err
	}
	home, err := a.homeDir()
	if err != nil {
		return nil, err
	}
	place := strings.NewReplacer(":", "_", "/", "_").Replace(u.Host)
	p := &profile{dir: filepath.Join(home, place, api.FoldUsername(username)), Server: u.String(), Username: username}
	if exists(p.path(profileFile)) {
		return p, nil
	}
	if all, err := a.profiles(); err == nil { // else the profile that cannot be read is another one
		for _, old := range all {
			if sameServer(old.Server, p.Server) && api.SameUsername(old.Username, username) {
				p.dir = old.dir // its place is named for the server as it was written then
			}
		}
	}
	return p, nil
}

// parseServer parses the address of a server and writes it in one way, whatever way it was given in: the cases of its scheme and host,
// the port that goes without saying, and a slash at its end make no difference (RFC 3986, section 6.2).
func parseServer(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, usagef("%q is not the address of a server, such as %s", address, defaultServer)
	}
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); port == "" || port == usualPorts[u.Scheme] {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, nil
}

var usualPorts = map[string]string{"http": "80", "https": "443"}

// sameServer reports whether two addresses are of one server.
func sameServer(one, other string) bool {
	a, err := parseServer(one)
	b, fault := parseServer(other)
	return err == nil && fault == nil && a.String() == b.String()
}

// open finds the profile to use: that of --user, or the only one.
func (a *app) open() (*profile, error) {
	all, err := a.profiles()
	if err != nil {
		return nil, err
	}
	var fit []*profile
	var names []string
	for _, p := range all {
		if a.user != "" && !api.SameUsername(p.Username, a.user) || a.server != "" && !sameServer(p.Server, a.server) {
			continue
		}
		fit, names = append(fit, p), append(names, p.Username+" on "+p.Server)
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) == 0:
		return nil, errors.New("there is no such profile here: make one with `sealpost register NAME`, or `sealpost login NAME`")
	}
	return nil, usagef("which profile? Choose one with --user (or SEALPOST_USER) and --server: %s", strings.Join(names, ", "))
}

func (a *app) profiles() ([]*profile, error) {
	home, err := a.homeDir()
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(home, "*", "*", profileFile))
	if err != nil {
		return nil, err
	}
	var list []*profile
	for _, path := range paths {
		p, err := readProfile(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func readProfile(dir string) (*profile, error) {
	p := &profile{dir: dir}
	text, err := os.ReadFile(p.path(profileFile))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("%s: %w", p.path(profileFile), err)
	}
	return p, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// defaultPatience is how long a command retries while a person waits.
const defaultPatience = 5 * time.Second

// client makes a client with the session of a profile.
func (a *app) client(p *profile, options ...client.Option) (*client.Client, error) {
	patience := client.WithPatience(cmp.Or(a.patience, defaultPatience))
	return client.New(p.Server, append([]client.Option{client.WithToken(p.Token), patience}, options...)...)
}

// messenger unlocks the keys of the profile to use.
func (a *app) messenger(options ...client.Option) (*profile, *client.Messenger, error) {
	p, err := a.open()
	if err != nil {
		return nil, nil, err
	}
	if p.Token == "" {
		return nil, nil, fmt.Errorf("%s is not logged in: log in with `sealpost login %s`", p.Username, p.Username)
	}
	passphrase, err := a.passphrase("Passphrase of your keys (your password, unless you chose another): ")
	if err != nil {
		return nil, nil, err
	}
	file, keys, err := keyfile.Open(p.path(keyFile), keyPassphrases(passphrase)...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("the keys of %s are not on this machine: copy %s from the one they are on", p.Username, p.path(keyFile))
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := a.client(p, options...)
	return p, &client.Messenger{
		Client: c, Username: p.Username, Keys: keys, Reload: file.Reload, Pins: &client.FilePins{Path: p.path(pinFile)},
	}, err
}
