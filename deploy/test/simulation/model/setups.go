package model

const (
	one  = 1
	both = 3
)

// Setups returns the setups, each of which is explored completely.
func Setups() []Setup { //nolint:funlen // a list
	return []Setup{
		{
			Name: "two sends", Covers: "two messages to two inboxes, one of which is read from the latest position on",
			Inboxes: 2, Writers: []Writer{{Key: 0, To: both}, {Key: 1, To: both}},
			Readers: []Reader{{Inbox: 0}, {Inbox: 1, Latest: true}},
		},
		{
			Name: "one inbox", Covers: "two messages to one inbox, with two readers at different places",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}, {Key: 1, To: one}},
			Readers: []Reader{{Inbox: 0}, {Inbox: 0, Latest: true}},
		},
		{
			Name: "a repeat", Covers: "a message that is sent twice at once, or again later, to two inboxes",
			Inboxes: 2, Writers: []Writer{{Key: 0, To: both}, {Key: 0, To: both}},
			Readers: []Reader{{Inbox: 0}, {Inbox: 1, Latest: true}},
		},
		{
			Name: "another content", Covers: "two contents under one client message id, to different recipients",
			Inboxes: 2, Writers: []Writer{{Key: 0, To: one}, {Key: 0, Content: 1, To: both}},
			Readers: []Reader{{Inbox: 0}, {Inbox: 1}},
		},
		{
			Name: "a repeat beside another send", Covers: "the same in one inbox, with another message and two readers at different places",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}, {Key: 0, To: one}, {Key: 1, To: one}},
			Readers: []Reader{{Inbox: 0}, {Inbox: 0, Latest: true}},
		},
		{
			Name: "order", Covers: "a counter that goes back, and nodes that are cut off from it",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}, {Key: 1, To: one, Node: 1}},
			Readers: []Reader{{Inbox: 0}}, Counter: true, SetBack: true, Away: true,
		},
		{
			Name: "order of three", Covers: "the same with a repeat, without readers",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}, {Key: 1, To: one, Node: 1}, {Key: 0, To: one, Node: 1}},
			Counter: true, SetBack: true, Away: true,
		},
		{
			Name: "power failure", Covers: "entries that were not synced are lost; a repeat, and another send after",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}, {Key: 0, To: one}, {Key: 1, To: one}},
			Readers: []Reader{{Inbox: 0}}, PowerFailure: true,
		},
		{
			Name: "one old message", Covers: "an inbox from which all is removed, with two readers at different places",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}},
			Readers: []Reader{{Inbox: 0}, {Inbox: 0}},
			Counter: true, Ticks: 4, Lifetime: 2, Retention: 2,
		},
		{
			Name: "retention", Covers: "two messages to one inbox from which all is removed, with two readers at different places",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}, {Key: 1, To: one, Node: 1}},
			Readers: []Reader{{Inbox: 0}, {Inbox: 0, Latest: true}},
			Counter: true, Ticks: 3, Lifetime: 2, Retention: 2,
		},
		{
			Name: "late repeat", Covers: "a message that is sent again when its entries are old",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}, {Key: 0, To: one, Node: 1}},
			Readers: []Reader{{Inbox: 0}, {Inbox: 0, Latest: true}},
			Counter: true, Ticks: 4, Lifetime: 2, Retention: 2,
		},
		{
			Name: "late content", Covers: "another content under the same client message id, when the first is old",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}, {Key: 0, Content: 1, To: one, Node: 1}},
			Readers: []Reader{{Inbox: 0}}, Counter: true, Ticks: 3, Lifetime: 2, Retention: 2,
		},
		{
			Name: "short life", Covers: "a message that is sent again when its content has gone",
			Inboxes: 1, Writers: []Writer{{Key: 0, To: one}, {Key: 0, To: one}},
			Readers: []Reader{{Inbox: 0}}, Counter: true, Ticks: 3, Lifetime: 1, Retention: 2,
		},
		{
			Name: "late repeats", Covers: "a message of a short life that is sent three times, over the retention",
			Inboxes: 1, Positions: 4, Writers: []Writer{{Key: 0, To: one}, {Key: 0, To: one}, {Key: 0, To: one}},
			Counter: true, Ticks: 3, Lifetime: 1, Retention: 2,
		},
	}
}
