package httpserver

import "github.com/gin-gonic/gin"

// jsonType is the Content-Type of all answers, which share it: see securityHeaders.
var jsonType = []string{"application/json; charset=utf-8"}

// WriteJSON answers with a body that is already JSON. An error means that the client did not take it.
func WriteJSON(c *gin.Context, status int, body []byte) error {
	c.Writer.Header()["Content-Type"] = jsonType
	c.Status(status)
	_, err := c.Writer.Write(body)
	return err
}
