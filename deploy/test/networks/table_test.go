package networks_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/networks"
)

// TestTable runs every cell, and prints the table.
func TestTable(t *testing.T) {
	t.Parallel()
	lab := startLab(t, *kind)
	paths, clients := networks.Paths(), networks.Clients()
	var table networks.Table
	t.Run("cells", func(t *testing.T) {
		for _, p := range paths {
			for _, c := range clients {
				if !wanted(p, c) {
					continue
				}
				t.Run(p.Name+"/"+c.Name, func(t *testing.T) {
					t.Parallel()
					runCell(t, lab, p, c, &table)
				})
			}
		}
	})
	var text strings.Builder
	require.NoError(t, table.Print(&text, paths, clients))
	t.Logf("\n%s", &text)
}

// wanted reports whether a cell is to run.
func wanted(p networks.Path, c networks.Client) bool {
	if *only == "" {
		return networks.Full() || (p.Short && c.Short)
	}
	// A path's name may have a slash in it, a client's has none.
	at := strings.LastIndexByte(*only, '/')
	path, client := (*only)[:max(at, 0)], (*only)[at+1:]
	return (path == "" || path == p.Name) && (client == "" || client == c.Name)
}

func runCell(t *testing.T, lab *networks.Lab, p networks.Path, c networks.Client, table *networks.Table) {
	r, err := lab.Run(t.Context(), p, c)
	require.NoError(t, err)
	table.Set(p.Name, c.Name, r)
	if r.Skipped != "" {
		require.False(t, networks.Required(), r.Skipped)
		t.Skip(r.Skipped)
	}
	t.Logf("%s/%s: %d delivered, %d repeated, worst delay %s", p.Name, c.Name, r.Delivered, r.Repeated, r.Worst)
	if len(r.Faults) > 0 {
		t.Errorf("of %d acknowledged: %s\nalone: go test -run TestTable -v -networks.only '%s/%s'\n%s",
			r.Acknowledged, strings.Join(r.Faults, ", "), p.Name, c.Name, r.Said)
	}
}

// TestARelayIsAsGoodAsALink runs one cell of each trouble over the relay that stands in for links where there are no namespaces.
func TestARelayIsAsGoodAsALink(t *testing.T) {
	if *only != "" {
		t.Skip("one cell is asked for")
	}
	t.Parallel()
	lab := startLab(t, networks.RelayLink)
	for _, name := range []string{"64 kbit/s", "1 Mbit/s 3% loss", "silent to client 20 s", "address changes"} {
		for _, p := range networks.Paths() {
			if p.Name == name {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					runCell(t, lab, p, networks.Clients()[0], new(networks.Table))
				})
			}
		}
	}
}
