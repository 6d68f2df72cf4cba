// Package api is the HTTP contract in Go: the JSON types, the error codes, and the OpenAPI document that specifies both for
// machines.
package api

import _ "embed"

// OpenAPI is the contract as an OpenAPI 3.1 document, served at /api/openapi.yaml.
//
//go:embed openapi.yaml
var OpenAPI []byte
