-- An answer that is being written to a session: see store.SessionCursor.
ALTER TABLE sessions ADD COLUMN offered INTEGER NOT NULL DEFAULT 0;
