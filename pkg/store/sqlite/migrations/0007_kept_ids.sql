-- A message's id and digest outlive its content, so that a repeat is recognised for the whole retention: see store.Message. What is there
-- already is kept for as long as its entries are: the greatest distance between the writing and the purging of any entry.
ALTER TABLE messages ADD COLUMN purge_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET purge_at = max(expires_at, created_at + coalesce((SELECT max(purge_at - at) FROM inbox), 0));
CREATE INDEX messages_purge ON messages (purge_at);
DROP INDEX messages_expiry;
CREATE INDEX messages_expiry ON messages (expires_at) WHERE erased = 0 AND tombstone = 0;

-- The history of the log that a cursor belongs to: see store.SessionCursor.
ALTER TABLE sessions ADD COLUMN epoch TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN furthest_epoch TEXT NOT NULL DEFAULT '';
