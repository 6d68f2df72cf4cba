package httpserver

import "github.com/gin-gonic/gin"

// jsonType is the Content-Type of all answers. It is shared by them: see securityHeaders.
var jsonType = []string{"application/json; charset=utf-8"}

// WriteJSON answers with a body that is JSON already. Its error means that the client has not taken it.
func WriteJSON(c *gin.Context, status int, body []byte) error {
	c.Writer.Header()["Content-Type"] = jsonType
	c.Status(status)
	_, err := c.Writer.Write(body)
	return err
}
