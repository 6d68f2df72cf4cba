-- By message first: what one send writes for all its readers stands side by side, on one page or two, however many readers
-- and however large their inboxes. Ids are as good as random, so that by inbox first each entry fell on a page of its own.
DROP INDEX inbox_message;
CREATE UNIQUE INDEX inbox_message ON inbox (message, username);
