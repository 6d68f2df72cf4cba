package accounts

import "github.com/sealpost/sealpost/pkg/api"

// scriptNames are the names that every object has in JavaScript, and "then", which makes one a promise. A client that keeps users in an object
// would lose whoever has such a name.
var scriptNames = []string{
	"__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "__proto__", "constructor", "hasOwnProperty", "isPrototypeOf",
	"propertyIsEnumerable", "prototype", "then", "toJSON", "toLocaleString", "toString", "valueOf",
}

// Reserved is the set of names that nobody can register, as they are compared.
type Reserved map[string]bool

// NewReserved reserves names, and those that would trip up clients in JavaScript.
func NewReserved(names []string) Reserved {
	r := Reserved{}
	for _, list := range [][]string{scriptNames, names} {
		for _, name := range list {
			r[api.FoldUsername(name)] = true
		}
	}
	return r
}

func (r Reserved) has(name string) bool { return r[api.FoldUsername(name)] }
