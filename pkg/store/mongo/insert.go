package mongo

import (
	"context"
	"errors"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// The codes with which a server refuses one document of an insert.
const (
	duplicateKey = 11000
	// A document that met such a fault was not written, and has to be tried again.
	writeConflict = 112
	// deadlock is PostgreSQL's 40P01 as DocumentDB passes it on: of two inserts that waited for each other's unique keys,
	// this is the one that gave way.
	deadlock = 16908292
)

// insertOne inserts a document and reports whether it did; false means that its unique keys are in use.
func insertOne(ctx context.Context, c *driver.Collection, document any) (bool, error) {
	refused, err := insertMany(ctx, c, []any{document})
	return err == nil && !refused[0], err
}

// insertMany inserts documents, each on its own, and reports which of them were refused because their unique keys are
// in use.
func insertMany(ctx context.Context, c *driver.Collection, documents []any) (refused []bool, err error) {
	refused = make([]bool, len(documents))
	pending := make([]int, len(documents))
	for i := range pending {
		pending[i] = i
	}
	for len(pending) > 0 {
		batch := make([]any, len(pending))
		for i, at := range pending {
			batch[i] = documents[at]
		}
		faults, err := tryInsert(ctx, c, batch)
		if err != nil {
			return nil, err
		}
		var again []int
		for i, at := range pending {
			switch faults[i] {
			case 0:
			case duplicateKey:
				refused[at] = true
			default:
				again = append(again, at)
			}
		}
		pending = again
	}
	return refused, nil
}

// tryInsert inserts documents and returns the codes of those that were not written, by index: each is one of the
// above.
func tryInsert(ctx context.Context, c *driver.Collection, documents []any) (faults map[int]int, err error) {
	_, err = c.InsertMany(ctx, documents, options.InsertMany().SetOrdered(false))
	var bulk driver.BulkWriteException
	if !errors.As(err, &bulk) {
		return nil, unavailable(err)
	}
	if bulk.WriteConcernError != nil {
		return nil, unavailable(err)
	}
	faults = make(map[int]int, len(bulk.WriteErrors))
	for _, e := range bulk.WriteErrors {
		if e.Code != duplicateKey && e.Code != writeConflict && e.Code != deadlock {
			return nil, unavailable(err)
		}
		faults[e.Index] = e.Code
	}
	return faults, nil
}
