-- Times are Unix milliseconds. Usernames that are keys are canonical; display is the spelling of registration.

CREATE TABLE accounts (
	username      TEXT PRIMARY KEY,
	display       TEXT NOT NULL,
	password_hash TEXT NOT NULL,
	generation    INTEGER NOT NULL,
	created_at    INTEGER NOT NULL,
	last_login    INTEGER NOT NULL,
	key_version   INTEGER NOT NULL,
	-- the furthest position that any session of the account has reached
	furthest      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
	username    TEXT NOT NULL REFERENCES accounts (username),
	version     INTEGER NOT NULL,
	pem         TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	created_at  INTEGER NOT NULL,
	PRIMARY KEY (username, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
	username   TEXT NOT NULL,
	session    TEXT NOT NULL,
	cursor     INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	PRIMARY KEY (username, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE meta (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The primary key makes positions write-once, the unique index makes a delivery come once.
CREATE TABLE inbox (
	username    TEXT NOT NULL,
	position    INTEGER NOT NULL,
	kind        INTEGER NOT NULL,
	message     BLOB NOT NULL,
	digest      BLOB NOT NULL,
	wrapped_key TEXT NOT NULL,
	key_version INTEGER NOT NULL,
	at          INTEGER NOT NULL,
	read_at     INTEGER,
	expires_at  INTEGER NOT NULL,
	purge_at    INTEGER NOT NULL,
	PRIMARY KEY (username, position)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX inbox_message ON inbox (username, message);
CREATE INDEX inbox_purge ON inbox (purge_at);

-- The highest position that was removed from an inbox, so that its tail never goes back.
CREATE TABLE inbox_tails (
	username TEXT PRIMARY KEY,
	removed  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Contents are large: the table is kept by row id, and found by the index of its key.
CREATE TABLE messages (
	id                 BLOB PRIMARY KEY NOT NULL,
	sender             TEXT NOT NULL,
	sender_key_version INTEGER NOT NULL,
	recipients         TEXT NOT NULL,
	iv                 TEXT NOT NULL,
	client_message_id  TEXT NOT NULL,
	digest             BLOB NOT NULL,
	created_at         INTEGER NOT NULL,
	expires_at         INTEGER NOT NULL,
	tombstone          INTEGER NOT NULL,
	content            TEXT NOT NULL
) STRICT;
CREATE INDEX messages_expiry ON messages (expires_at);

CREATE TABLE revocations (
	id             INTEGER PRIMARY KEY AUTOINCREMENT,
	token_id       TEXT NOT NULL,
	subject        TEXT NOT NULL,
	min_generation INTEGER NOT NULL,
	expires_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX revocations_expiry ON revocations (expires_at);
