-- How often something was offered to a session, so that no two offers are alike: see store.SessionCursor.
ALTER TABLE sessions ADD COLUMN offers INTEGER NOT NULL DEFAULT 0;
