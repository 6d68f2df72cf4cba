-- The length of the message's content: see store.Entry. 0 for the entries that are there already.
ALTER TABLE inbox ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
