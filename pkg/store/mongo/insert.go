package mongo

import (
	"context"
	"errors"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Error codes with which a server refuses one document of an insert.
const (
	duplicateKey = 11000
	// writeConflict and deadlock mean that the document was not written and has to be retried.
	writeConflict = 112
	// deadlock is PostgreSQL's 40P01 as DocumentDB reports it: two inserts waited for each other's unique keys, and this one was aborted.
	deadlock = 16908292
)

// insertOne inserts a document and reports whether it did; false means that its unique keys are in use.
func insertOne(ctx context.Context, c *driver.Collection, document any) (bool, error) {
	refused, err := insertMany(ctx, c, []any{document})
	return err == nil && !refused[0], err
}

// insertMany inserts documents independently of each other, and reports which were refused because their unique keys are in use.
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

// tryInsert inserts documents and returns the error codes of those not written, by index. Each is one of the codes above.
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
