package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost/pkg/store"
)

// schema is the version of the documents' format, as stored in meta. It changes when stored data could no longer be read, or would be
// misread.
const (
	schemaName = "schema"
	schema     = "2"
)

var errOtherSchema = errors.New("the database is of another schema")

// checkSchema ensures that the database has this schema or is new. It costs one read; the first time a few more operations.
func (s *Store) checkSchema(ctx context.Context) error {
	found, err := s.Value(ctx, schemaName)
	if errors.Is(err, store.ErrNotFound) {
		if err = s.checkUnnamed(ctx); err == nil {
			found, err = s.PutOnce(ctx, schemaName, []byte(schema))
		}
	}
	if err == nil && string(found) != schema {
		err = fmt.Errorf("%w: %q, where this version has %q: drop the database, or restore a backup that this version has written", errOtherSchema, found, schema)
	}
	return err
}

// checkUnnamed ensures that a database without a schema version does not have the first schema, which was never released. That one is
// recognised by its index of inboxes by user and position.
func (s *Store) checkUnnamed(ctx context.Context) error {
	indexes, err := s.inbox.Indexes().ListSpecifications(ctx)
	if err != nil {
		return unavailable(err)
	}
	for _, index := range indexes {
		elements, err := index.KeysDocument.Elements()
		if err != nil {
			return unavailable(err)
		}
		var keys []string
		for _, e := range elements {
			keys = append(keys, e.Key())
		}
		if slices.Equal(keys, []string{"u", "s"}) {
			return fmt.Errorf("%w: its inboxes have an index (u, s), as only versions before the first release made it: "+
				"drop the database, or restore a backup that this version has written", errOtherSchema)
		}
	}
	return nil
}
