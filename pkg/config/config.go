// Package config fills a struct from the environment: one struct per program, with every default in its tags. It reports all faults
// together.
//
// A field is declared as
//
//	Port int `env:"PORT" envDefault:"3001" desc:"port that clients connect to"`
//
// and, for a type with a Validate method, checked after all fields are filled.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/caarlos0/env/v11"
	"github.com/dustin/go-humanize"
)

// Secret is a setting that must not be shown: fmt, slog and encoding/json always print it as [redacted]. A Secret named X is read
// from X or, if X_FILE is set instead, from that file.
type Secret string

// SecretFile is the path of the file that a Secret was read from, for rereading it later; empty if the Secret was not read from a
// file. It is a field beside a Secret named X, and is named X_FILE.
type SecretFile string

const redacted = "[redacted]"

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }

// Bytes is a size, written as a number of bytes or with a unit: 5242880, 5MiB, 64KB.
type Bytes int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a size such as 5242880 or 5MiB", text)
	}
	if n > 1<<62 {
		return fmt.Errorf("%q is too large", text)
	}
	*b = Bytes(n)
	return nil
}

// Validator is implemented by configuration structs that have rules beyond the types of their fields.
type Validator interface {
	Validate() error
}

// Variable describes one setting.
type Variable struct {
	Name        string
	Default     string
	Description string
	Secret      bool
	Required    bool
}

// Load fills dst, a pointer to a struct, from environ (in the form of os.Environ) and returns every fault at once.
func Load(dst any, environ []string) error {
	values := env.ToMap(environ)
	fileErr := readSecretFiles(dst, values)
	err := env.ParseWithOptions(dst, env.Options{Environment: values})
	var all env.AggregateError
	if errors.As(err, &all) {
		err = errors.Join(all.Errors...)
	}
	return errors.Join(fileErr, err, validate(reflect.ValueOf(dst).Elem()))
}

// readSecretFiles stores, for each Secret X of dst, the content of the file named by X_FILE under X.
func readSecretFiles(dst any, values map[string]string) error {
	var faults []error
	for _, v := range Variables(dst) {
		path := values[v.Name+"_FILE"]
		if !v.Secret || path == "" {
			continue
		}
		if values[v.Name] != "" {
			faults = append(faults, fmt.Errorf("%s and %s_FILE are both set: set one", v.Name, v.Name))
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s_FILE: %w", v.Name, err))
			continue
		}
		values[v.Name] = strings.TrimRight(string(text), "\r\n")
	}
	return errors.Join(faults...)
}

// validate calls Validate on v and on every struct inside it.
func validate(v reflect.Value) error {
	var faults []error
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Struct && v.Type().Field(i).IsExported() {
			faults = append(faults, validate(f))
		}
	}
	// An embedded struct's method is promoted: without this check it would be called twice.
	if own, ok := v.Addr().Interface().(Validator); ok && !promoted(v.Type()) {
		faults = append(faults, own.Validate())
	}
	return errors.Join(faults...)
}

// promoted reports whether t has its Validate method only through an embedded struct.
func promoted(t reflect.Type) bool {
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			if _, ok := reflect.PointerTo(f.Type).MethodByName("Validate"); ok {
				return true
			}
		}
	}
	return false
}

var (
	secretType     = reflect.TypeFor[Secret]()
	secretFileType = reflect.TypeFor[SecretFile]()
)

// Variables lists the settings of dst, a struct or a pointer to one, in the order of its fields.
func Variables(dst any) []Variable {
	t := reflect.TypeOf(dst)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var list []Variable
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type == secretFileType {
			continue // the Secret describes both
		}
		name, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		if name == "" {
			if f.Type.Kind() == reflect.Struct && f.IsExported() {
				list = append(list, Variables(reflect.New(f.Type).Interface())...)
			}
			continue
		}
		list = append(list, Variable{
			Name: name, Default: f.Tag.Get("envDefault"), Description: f.Tag.Get("desc"),
			Secret: f.Type == secretType, Required: strings.Contains(options, "required"),
		})
	}
	return list
}

// WriteHelp prints a table of the settings of dst.
func WriteHelp(w io.Writer, dst any) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "VARIABLE\tDEFAULT\tMEANING")
	for _, v := range Variables(dst) {
		name := v.Name
		if v.Secret {
			name += ", " + v.Name + "_FILE"
		}
		def := v.Default
		if v.Required {
			def = "(required)"
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\n", name, def, v.Description)
	}
	return tw.Flush()
}
