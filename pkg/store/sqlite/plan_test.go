package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoStatementOfARequestPathScansATable(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for _, text := range []string{
		sqlEntry, sqlMessages, sqlEntries, sqlFirstAfter, sqlTails, sqlMarkRead, sqlReceipts, sqlAccount, sqlKeyVersions, sqlListKeys,
		sqlKeyHistory, sqlSessionCursor, sqlRevocationsAfter, sqlDecided, sqlMessagesAt,
	} {
		args := make([]any, strings.Count(text, "?"))
		if strings.Contains(text, "?2") {
			args = args[:2]
		} else if strings.Contains(text, "?1") {
			args = args[:1]
		}
		rows, err := s.readDB.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
		require.NoError(t, err, text)
		searches := 0
		for rows.Next() {
			var id, parent, unused int
			var step string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
			// Lists that travel as JSON, and constants, may be walked; and what was found, if finding it was no scan.
			if strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "VIRTUAL TABLE") && !strings.Contains(step, "CONSTANT ROW") &&
				!strings.HasPrefix(step, "SCAN (subquery") {
				t.Errorf("%s\n  %s", text, step)
			}
			if strings.HasPrefix(step, "SEARCH") {
				searches++
			}
			// Of a user's inbox, too, only a part may be walked: by position, by message, or its end alone.
			narrow := strings.Contains(step, "username=? AND ") || strings.Contains(step, "message=? AND username=?")
			if strings.HasPrefix(step, "SEARCH inbox ") && !narrow && text != sqlTails {
				t.Errorf("%s\n  %s", text, step)
			}
		}
		require.NoError(t, rows.Err())
		require.Positive(t, searches, text)
	}
}
