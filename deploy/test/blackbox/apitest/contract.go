package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sealpost/sealpost/pkg/api"
)

// documentURL names the document to the schema compiler, which resolves references by it.
const documentURL = "https://sealpost.invalid/openapi.json"

// contract checks a server's answers against the OpenAPI document. It compiles each schema once: the suite checks every answer, and
// kin-openapi's own filter, which recompiles for each, would take most of the suite's time.
type contract struct {
	document map[string]any

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
	// answered counts the answers by operation and status, coded those with an error by code.
	answered map[string]int
	coded    map[api.Code]int
}

// exchange is a request and its answer.
type exchange struct {
	method string
	// path is decoded, as the server's router sees it.
	path    string
	request []byte
	status  int
	header  http.Header
	// body is nil for a stream, which does not end.
	body []byte
}

func newContract(text []byte) (*contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	encoded, err := doc.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(documentURL, parsed); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return &contract{
		document: parsed.(map[string]any), compiler: compiler, schemas: map[string]*jsonschema.Schema{},
		answered: map[string]int{}, coded: map[api.Code]int{},
	}, nil
}

// check returns how the exchange breaks the contract, or nil.
func (c *contract) check(x exchange) error {
	if err := checkEveryAnswer(x); err != nil {
		return err
	}
	operation := c.operation(x.method, x.path)
	response, err := c.response(operation, x)
	if err != nil {
		return err
	}
	if err := c.checkHeaders(response, x.header); err != nil {
		return err
	}
	if x.body != nil && x.method != http.MethodHead {
		if err := c.checkBody(response, x); err != nil {
			return err
		}
	}
	if operation == "" || x.status >= http.StatusMultipleChoices {
		return nil
	}
	return c.checkRequest(operation, x)
}

// checkEveryAnswer checks what is true for all answers of all routes.
func checkEveryAnswer(x exchange) error {
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
	} {
		if got := x.header.Get(name); got != want {
			return fmt.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	var fault struct {
		Code      api.Code `json:"code"`
		RequestID string   `json:"requestId"`
	}
	if json.Unmarshal(x.body, &fault) == nil && fault.Code != "" && fault.RequestID != x.header.Get("X-Request-ID") {
		return fmt.Errorf("requestId %q is not the X-Request-ID header %q", fault.RequestID, x.header.Get("X-Request-ID"))
	}
	return nil
}

// operation returns the pointer to the operation that serves a request, "" if no operation does. A path without parameters takes precedence
// over one with them.
func (c *contract) operation(method, path string) string {
	found, most := "", -1
	if method != strings.ToUpper(method) {
		return "" // methods are case-sensitive (RFC 9110, section 9.1)
	}
	if method == http.MethodHead { // served wherever GET is
		method = http.MethodGet
	}
	for template, item := range c.document["paths"].(map[string]any) {
		literals, ok := matches(template, path)
		_, served := item.(map[string]any)[strings.ToLower(method)]
		if ok && served && literals > most {
			found, most = pointer("paths", template, strings.ToLower(method)), literals
		}
	}
	return found
}

// pathServed reports whether any method serves the path.
func (c *contract) pathServed(path string) bool {
	for template := range c.document["paths"].(map[string]any) {
		if _, ok := matches(template, path); ok {
			return true
		}
	}
	return false
}

// matches reports whether a path fits a template, and how many of its segments are literal.
func matches(template, path string) (literals int, ok bool) {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return 0, false
	}
	for i, segment := range want {
		switch {
		case strings.HasPrefix(segment, "{") && got[i] != "":
		case segment == got[i]:
			literals++
		default:
			return 0, false
		}
	}
	return literals, true
}

// response returns the pointer to the document's response for an answer.
func (c *contract) response(operation string, x exchange) (string, error) {
	status := strconv.Itoa(x.status)
	switch {
	case operation != "":
		at := operation + pointer("responses", status)
		if c.at(at) == nil {
			return "", fmt.Errorf("%s %s has no status %s", x.method, x.path, status)
		}
		c.mu.Lock()
		c.answered[operation+" "+status]++
		c.mu.Unlock()
		return c.resolve(at), nil
	case c.pathServed(x.path):
		if x.status != http.StatusMethodNotAllowed {
			return "", fmt.Errorf("%s %s is answered %s; the path does not take the method: want 405", x.method, x.path, status)
		}
		return "/components/responses/MethodNotAllowed", nil
	case x.status != http.StatusNotFound:
		return "", fmt.Errorf("%s %s is answered %s; there is no such path: want 404", x.method, x.path, status)
	}
	return "/components/responses/NotFound", nil
}

func (c *contract) checkHeaders(response string, got http.Header) error {
	headers, _ := c.at(response + pointer("headers")).(map[string]any)
	if _, listed := headers["Cache-Control"]; !listed && got.Get("Cache-Control") != "no-store" {
		return fmt.Errorf("header Cache-Control is %q; this answer must not be stored", got.Get("Cache-Control"))
	}
	for name := range headers {
		at := c.resolve(response + pointer("headers", name))
		spec := c.at(at).(map[string]any)
		text := got.Get(name)
		if text == "" {
			if spec["required"] == true {
				return fmt.Errorf("header %s is missing", name)
			}
			continue
		}
		var value any = text
		if schema, _ := c.at(c.resolve(at + pointer("schema"))).(map[string]any); schema["type"] == "integer" {
			value = json.Number(text)
			if _, err := strconv.ParseInt(text, 10, 64); err != nil {
				return fmt.Errorf("header %s: %q is no integer", name, text)
			}
		}
		if err := c.validate(at+pointer("schema"), value); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	return nil
}

func (c *contract) checkBody(response string, x exchange) error {
	mediaType, _, err := mime.ParseMediaType(x.header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("content type %q: %w", x.header.Get("Content-Type"), err)
	}
	at := response + pointer("content", mediaType)
	if c.at(at) == nil {
		return fmt.Errorf("%s %s, status %d: no content type %q", x.method, x.path, x.status, mediaType)
	}
	if mediaType != "application/json" {
		return nil
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(x.body))
	if err != nil {
		return fmt.Errorf("%s %s, status %d: %w", x.method, x.path, x.status, err)
	}
	if err := c.validate(at+pointer("schema"), body); err != nil {
		return fmt.Errorf("%s %s, status %d: %w", x.method, x.path, x.status, err)
	}
	if object, ok := body.(map[string]any); ok {
		if code, ok := object["code"].(string); ok {
			c.mu.Lock()
			c.coded[api.Code(code)]++
			c.mu.Unlock()
		}
	}
	return nil
}

// checkRequest checks a body that the server accepted against the document.
func (c *contract) checkRequest(operation string, x exchange) error {
	at := operation + pointer("requestBody", "content", "application/json", "schema")
	if c.at(at) == nil {
		return nil
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(x.request))
	if err != nil {
		return fmt.Errorf("%s %s accepted a body that is not JSON: %w", x.method, x.path, err)
	}
	if err := c.validate(at, body); err != nil {
		return fmt.Errorf("%s %s accepted a body that the document forbids: %w", x.method, x.path, err)
	}
	return nil
}

// validate validates a value against the schema at a pointer.
func (c *contract) validate(at string, value any) error {
	schema, err := c.schema(at)
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func (c *contract) schema(at string) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if schema, ok := c.schemas[at]; ok {
		return schema, nil
	}
	schema, err := c.compiler.Compile(documentURL + "#" + fragment.Replace(at))
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: schema %s: %w", at, err)
	}
	c.schemas[at] = schema
	return schema, nil
}

// at returns the value at a pointer of the document, nil if it does not exist.
func (c *contract) at(at string) any {
	var node any = c.document
	for _, token := range strings.Split(at, "/")[1:] {
		object, ok := node.(map[string]any)
		if !ok {
			return nil
		}
		node = object[unescape.Replace(token)]
	}
	return node
}

// resolve follows the reference at the pointer, if it has one.
func (c *contract) resolve(at string) string {
	object, _ := c.at(at).(map[string]any)
	if ref, ok := object["$ref"].(string); ok {
		return c.resolve(strings.TrimPrefix(ref, "#"))
	}
	return at
}

// unseen lists what the exchanges so far have not covered: operations without a success, and codes without an answer.
func (c *contract) unseen(ignored map[api.Code]bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var faults []error
	for template, item := range c.document["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			operation := pointer("paths", template, method)
			if c.answered[operation+" 200"]+c.answered[operation+" 201"] == 0 {
				faults = append(faults, fmt.Errorf("%s %s was never answered with success", method, template))
			}
		}
	}
	codes, _ := c.at("/components/schemas/ErrorCode/enum").([]any)
	for _, code := range codes {
		if name := api.Code(code.(string)); c.coded[name] == 0 && !ignored[name] {
			faults = append(faults, fmt.Errorf("no answer had the code %s", name))
		}
	}
	return errors.Join(faults...)
}

var (
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
	// fragment escapes what a URL must not contain.
	fragment = strings.NewReplacer("{", "%7B", "}", "%7D")
)

// pointer makes a JSON pointer (RFC 6901) from names.
func pointer(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString("/")
		b.WriteString(escape.Replace(name))
	}
	return b.String()
}
