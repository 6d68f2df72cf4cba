package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

func load(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	require.NoError(t, err)
	return doc
}

func accepts(schema *openapi3.SchemaRef, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var decoded any
	if err := json.Unmarshal(text, &decoded); err != nil {
		return err
	}
	return schema.Value.VisitJSON(decoded, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors())
}

func TestTheDocumentIsValidOpenAPI31(t *testing.T) {
	doc := load(t)
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.NoError(t, doc.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableMultiError()))
}

func TestEveryOperationIsDescribed(t *testing.T) {
	doc := load(t)
	ids := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			t.Run(method+" "+path, func(t *testing.T) {
				require.NotEmpty(t, operation.Summary)
				require.Len(t, operation.Tags, 1)
				require.NotNil(t, doc.Tags.Get(operation.Tags[0]))
				require.False(t, ids[operation.OperationID], "the id %s is used twice", operation.OperationID)
				ids[operation.OperationID] = true
				for status, response := range operation.Responses.Map() {
					require.NotEmpty(t, *response.Value.Description, status)
					require.Contains(t, response.Value.Headers, "X-Request-ID", status)
					require.Len(t, response.Value.Content, 1, status)
				}
			})
		}
	}
}

func TestOperationsListTheRefusalsOfWhatTheyTake(t *testing.T) {
	for path, item := range load(t).Paths.Map() {
		for method, operation := range item.Operations() {
			var refusals []string
			if public := operation.Security != nil && len(*operation.Security) == 0; !public {
				refusals = append(refusals, "401", "429", "503")
			}
			if operation.RequestBody != nil {
				refusals = append(refusals, "400", "413", "415", "429", "503")
			}
			for _, p := range operation.Parameters {
				switch p.Value.In {
				case openapi3.ParameterInPath:
					refusals = append(refusals, "404")
				case openapi3.ParameterInQuery:
					refusals = append(refusals, "400")
				}
			}
			for _, status := range refusals {
				require.NotNil(t, operation.Responses.Value(status), "%s %s: %s", method, path, status)
			}
		}
	}
}

// TestResponsesAreClosed keeps the contract suite strict: an object that allows any property checks nothing.
func TestResponsesAreClosed(t *testing.T) {
	doc := load(t)
	for name, schema := range doc.Components.Schemas {
		if strings.HasSuffix(name, "Request") || !schema.Value.Type.Is("object") {
			continue
		}
		require.NotNil(t, schema.Value.AdditionalProperties, name)
		require.Equal(t, new(false), schema.Value.AdditionalProperties.Has, "%s takes properties that are not listed", name)
	}
}

func TestEveryCodeIsListedAndIsTheCodeOfSomeAnswer(t *testing.T) {
	doc := load(t)
	enum := doc.Components.Schemas["ErrorCode"].Value.Enum
	listed := make([]string, 0, len(enum))
	for _, code := range enum {
		listed = append(listed, code.(string))
	}
	require.ElementsMatch(t, constants(t, "Code"), listed)

	used := map[string]bool{}
	collectCodes(t, doc, used)
	require.ElementsMatch(t, listed, slices.Collect(maps.Keys(used)))
}

// collectCodes gathers the enums of all properties named code, except the one list of all codes.
func collectCodes(t *testing.T, doc *openapi3.T, used map[string]bool) {
	t.Helper()
	text, err := doc.MarshalJSON()
	require.NoError(t, err)
	var tree any
	require.NoError(t, json.Unmarshal(text, &tree))
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if code, ok := node["code"].(map[string]any); ok {
				if enum, ok := code["enum"].([]any); ok {
					for _, c := range enum {
						used[c.(string)] = true
					}
				}
			}
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(tree)
}

// constants returns the values of the string constants of a type in errors.go.
func constants(t *testing.T, typeName string) []string {
	t.Helper()
	var values []string
	for _, decl := range parse(t, "errors.go").Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			value := spec.(*ast.ValueSpec)
			if name, ok := value.Type.(*ast.Ident); ok && name.Name == typeName {
				text, err := strconv.Unquote(value.Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				values = append(values, text)
			}
		}
	}
	require.NotEmpty(t, values)
	return values
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	return parsed
}

func TestLimitsAreThoseOfTheCode(t *testing.T) {
	doc := load(t)
	schema := func(name string) *openapi3.Schema { return doc.Components.Schemas[name].Value }
	send := schema("SendRequest").Properties
	limits := map[string]struct {
		want int
		got  *uint64
	}{
		"password":           {api.MaxPasswordBytes, schema("RegisterRequest").Properties["password"].Value.MaxLength},
		"newPassword":        {api.MaxPasswordBytes, schema("PasswordRequest").Properties["newPassword"].Value.MaxLength},
		"publicKey":          {api.MaxPublicKeyBytes, schema("SubmittedPublicKey").MaxLength},
		"iv":                 {api.MaxIVChars, send["iv"].Value.MaxLength},
		"recipients":         {api.MaxRecipients, send["recipientKeys"].Value.MaxProps},
		"wrapped key":        {api.MaxWrappedKeyBytes, send["recipientKeys"].Value.AdditionalProperties.Schema.Value.MaxLength},
		"clientMessageId":    {api.MaxClientMessageIDChars, send["clientMessageId"].Value.MaxLength},
		"message's iv":       {api.MaxIVChars, schema("Message").Properties["iv"].Value.MaxLength},
		"history's page":     {api.MaxHistoryLimit, schema("HistoryResponse").Properties["messages"].Value.MaxItems},
		"poll's answer":      {api.MaxPollLimit, schema("PollMessages").Properties["messages"].Value.MaxItems},
		"key history's page": {api.MaxKeyHistoryLimit, schema("KeyHistoryResponse").Properties["versions"].Value.MaxItems},
		"directory's page":   {api.MaxDirectoryLimit, schema("DirectoryResponse").Properties["users"].Value.MaxItems},
		"Idempotency-Key":    {api.MaxClientMessageIDChars, parameter(t, doc, "/api/messages/send", "POST", "Idempotency-Key").MaxLength},
		"message's readers":  {api.MaxRecipients, schema("Message").Properties["readBy"].Value.MaxItems},
	}
	for name, limit := range limits {
		require.NotNil(t, limit.got, name)
		require.EqualValues(t, limit.want, *limit.got, name)
	}
	for path, parameters := range map[string]map[string]int{
		"/api/messages/poll":                {"wait": api.MaxPollWaitSeconds, "limit": api.MaxPollLimit},
		"/api/messages/history":             {"limit": api.MaxHistoryLimit},
		"/api/keys/users":                   {"limit": api.MaxDirectoryLimit},
		"/api/keys/user/{username}/history": {"limit": api.MaxKeyHistoryLimit},
	} {
		for name, want := range parameters {
			require.Equal(t, want, int(*parameter(t, doc, path, "GET", name).Max), "%s %s", path, name)
		}
	}
}

func parameter(t *testing.T, doc *openapi3.T, path, method, name string) *openapi3.Schema {
	t.Helper()
	for _, p := range doc.Paths.Value(path).GetOperation(method).Parameters {
		if p.Value.Name == name {
			return p.Value.Schema.Value
		}
	}
	require.Fail(t, "no such parameter", "%s %s %s", method, path, name)
	return nil
}

func TestUsernamesAreThoseOfTheCode(t *testing.T) {
	schema := load(t).Components.Schemas["Username"]
	for _, name := range []string{
		"abc", "ab", "", strings.Repeat("a", 30), strings.Repeat("a", 31), "A_9", "a.b", "a-b", "a b", "a*b", "$abc", "äbc", "abc\n", "a\x00b",
	} {
		require.Equal(t, api.ValidUsername(name), accepts(schema, name) == nil, "%q", name)
	}
}

func TestEveryTypeMarshalsToWhatItsSchemaAccepts(t *testing.T) {
	doc := load(t)
	for _, s := range samples() {
		require.Contains(t, doc.Components.Schemas, s.schema)
		require.NoError(t, accepts(doc.Components.Schemas[s.schema], s.value), "%s: %+v", s.schema, s.value)
		if response := strings.HasPrefix(s.schema, "Poll"); response {
			require.NoError(t, accepts(doc.Components.Schemas["PollResponse"], s.value), s.schema)
		}
	}
}

func TestNoTypeIsForgotten(t *testing.T) {
	sampled := map[string]bool{}
	for _, s := range samples() {
		sampled[reflect.TypeOf(s.value).Name()] = true
	}
	for _, decl := range parse(t, "types.go").Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.TYPE {
			continue
		}
		for _, spec := range group.Specs {
			name := spec.(*ast.TypeSpec).Name.Name
			require.True(t, sampled[name] || name == "Time", "no sample of %s", name)
		}
	}
}

// TestSchemasListWhatTheTypesHave compares types and schemas both ways: no field without a property, no property without a field,
// and required exactly if the field is always present.
func TestSchemasListWhatTheTypesHave(t *testing.T) {
	doc := load(t)
	// One Go type has several schemas here: they differ in what is present.
	shapes := map[string]bool{
		"SessionResponse": true, "NewTokenResponse": true, "ValidToken": true, "UselessToken": true, "SendResponse": true,
		"DuplicateSendResponse": true, "PollMessages": true, "PollMessage": true, "PollTimeout": true, "PollReset": true,
	}
	for _, s := range samples() {
		fields, always := jsonFields(reflect.TypeOf(s.value))
		schema := doc.Components.Schemas[s.schema].Value
		properties := slices.Sorted(maps.Keys(schema.Properties))
		if shapes[s.schema] {
			require.Subset(t, fields, properties, s.schema)
			require.Subset(t, schema.Required, always, s.schema)
			continue
		}
		require.Equal(t, slices.Sorted(slices.Values(fields)), properties, s.schema)
		require.ElementsMatch(t, always, schema.Required, s.schema)
	}
}

// jsonFields returns the JSON names of a struct's fields, and the names of those that are never omitted.
func jsonFields(of reflect.Type) (all, always []string) {
	for i := range of.NumField() {
		name, options, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		all = append(all, name)
		if options != "omitempty" {
			always = append(always, name)
		}
	}
	return all, always
}

func TestErrorsMarshalToWhatTheirSchemasAccept(t *testing.T) {
	doc := load(t)
	withID := func(e *api.Error) *api.Error { e.RequestID = "r"; return e }
	for schema, e := range map[string]*api.Error{
		"InvalidJSON":         api.InvalidJSON("is not JSON"),
		"MissingField":        api.MissingField("username"),
		"InvalidField":        api.InvalidField("username", "is too long"),
		"WeakPassword":        {Code: api.CodeWeakPassword, Message: "m", Field: "password"},
		"InvalidPublicKey":    {Code: api.CodeInvalidPublicKey, Message: "m", Field: "publicKey"},
		"UnknownRecipients":   {Code: api.CodeUnknownRecipients, Message: "m", Field: "recipientKeys", UnknownRecipients: []string{"Nemo"}},
		"TokenError":          {Code: api.CodeTokenRevoked, Message: "m"},
		"InvalidCredentials":  {Code: api.CodeInvalidCredentials, Message: "m"},
		"PasswordRequired":    {Code: api.CodePasswordRequired, Message: "m", Field: "currentPassword"},
		"UsernameTaken":       {Code: api.CodeUsernameTaken, Message: "m", Field: "username"},
		"IdempotencyMismatch": {Code: api.CodeIdempotencyMismatch, Message: "m"},
		"StaleKeys":           {Code: api.CodeStaleKeys, Message: "m", Stale: map[string]int{"Ann": 2}},
		"Error":               {Code: api.CodeInternal, Message: "m"},
		"FieldError":          api.InvalidField("limit", "is too large"),
	} {
		require.NoError(t, accepts(doc.Components.Schemas[schema], withID(e)), schema)
		require.Error(t, accepts(doc.Components.Schemas[schema], &api.Error{Code: "other", Message: "m", RequestID: "r"}), schema)
	}
}

func TestTheExampleKeyHasTheExampleFingerprint(t *testing.T) {
	doc := load(t)
	example := doc.Components.Schemas["PublicKey"].Value.Examples[0].(string)
	require.NoError(t, accepts(doc.Components.Schemas["PublicKey"], example))
	require.Equal(t, exampleFingerprint, fingerprint(t, example))
	require.Equal(t, exampleFingerprint, doc.Components.Schemas["Fingerprint"].Value.Examples[0])
}

func TestTheDocumentHasNoTabsAndNoTrailingSpace(t *testing.T) {
	for i, line := range bytes.Split(api.OpenAPI, []byte("\n")) {
		require.Equal(t, string(bytes.TrimRight(line, " \t")), string(line), "line %d", i+1)
		require.NotContains(t, string(line), "\t", "line %d", i+1)
	}
}

func fingerprint(t *testing.T, text string) string {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	require.NotNil(t, block)
	require.Empty(t, rest)
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}
