package mongo

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

// TestADatabaseOfAnotherSchemaIsLeftAsItIs: and the error says what to do.
func TestADatabaseOfAnotherSchemaIsLeftAsItIs(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, db *driver.Database){
		"the first": func(t *testing.T, db *driver.Database) {
			_, err := db.Collection("inbox").Indexes().CreateOne(t.Context(), driver.IndexModel{Keys: both("u", "s")})
			require.NoError(t, err)
		},
		"a later one": func(t *testing.T, db *driver.Database) {
			_, err := db.Collection("meta").InsertOne(t.Context(), metaDocument{Name: schemaName, Value: []byte("3")})
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := planDatabase(t)
			o, err := clientOptions(cfg)
			require.NoError(t, err)
			client, err := driver.Connect(o)
			require.NoError(t, err)
			defer func() { require.NoError(t, client.Disconnect(t.Context())) }()
			db := client.Database(cfg.Database)
			make(t, db)
			before, err := db.ListCollectionNames(t.Context(), bson.D{})
			require.NoError(t, err)
			for range 2 {
				_, err = Open(t.Context(), cfg)
				require.ErrorIs(t, err, errOtherSchema)
				require.ErrorContains(t, err, "drop the database, or restore a backup")
			}
			after, err := db.ListCollectionNames(t.Context(), bson.D{})
			require.NoError(t, err)
			require.ElementsMatch(t, before, after)
		})
	}
}

func TestADatabaseTellsItsSchemaFromTheFirstStartOn(t *testing.T) {
	cfg := planDatabase(t)
	one, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, one.Close()) }()
	found, err := one.Value(t.Context(), schemaName)
	require.NoError(t, err)
	require.Equal(t, schema, string(found))
	other, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, other.Close())
}
