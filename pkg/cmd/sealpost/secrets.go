package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
	"golang.org/x/text/secure/precis"
)

// password asks for the account's password.
func (a *app) password(prompt string) (string, error) {
	return a.secret(prompt, a.passwordFile, "SEALPOST_PASSWORD")
}

// passphrase asks for the passphrase of the keys. If no passphrase was given but a password was, it uses the password.
func (a *app) passphrase(prompt string) (string, error) {
	if a.passphraseFile == "" && os.Getenv("SEALPOST_PASSPHRASE") == "" && a.passwordGiven() {
		return a.password(prompt)
	}
	return a.secret(prompt, a.passphraseFile, "SEALPOST_PASSPHRASE")
}

func (a *app) passwordGiven() bool {
	return a.passwordFile != "" || os.Getenv("SEALPOST_PASSWORD") != ""
}

func (a *app) passphraseGiven() bool {
	return a.passphraseFile != "" || os.Getenv("SEALPOST_PASSPHRASE") != ""
}

// secret reads a secret from a file, else from a variable, else from the terminal without echo.
func (a *app) secret(prompt, file, variable string) (string, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		return strings.TrimRight(string(text), "\r\n"), err
	}
	if value := os.Getenv(variable); value != "" {
		return value, nil
	}
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", fmt.Errorf("there is no terminal to ask for a password: set %s, or name a file", variable)
	}
	_, _ = fmt.Fprint(a.err, prompt)
	text, err := term.ReadPassword(int(in.Fd()))
	_, _ = fmt.Fprintln(a.err)
	return string(text), err
}

// keyPassphrases returns the forms of a typed passphrase that may open a key file; a new file gets the first. That is the one of RFC
// 8265 (OpaqueString): machines send the same key strokes composed or decomposed. The others are the text as it was typed, for files
// of before, and for texts that the RFC refuses.
func keyPassphrases(typed string) []string {
	prepared, err := precis.OpaqueString.String(typed)
	if err != nil || prepared == typed {
		return []string{typed}
	}
	return []string{prepared, typed}
}

// newPassword asks for a password, twice if on the terminal.
func (a *app) newPassword() (string, error) {
	first, err := a.password("Choose a password (8 characters or more): ")
	if err != nil || a.passwordGiven() {
		return first, err
	}
	second, err := a.password("Once more: ")
	if err == nil && first != second {
		err = errors.New("the two passwords differ")
	}
	return first, err
}
