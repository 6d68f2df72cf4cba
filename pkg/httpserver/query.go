package httpserver

import (
	"fmt"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
)

// QueryInt reads a whole number from least to most from the query; without the parameter it returns absent. Anything else is an
// *api.Error that names it.
func QueryInt(c *gin.Context, name string, absent, least, most int64) (int64, error) {
	text, given := c.GetQuery(name)
	if !given {
		return absent, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, api.InvalidField(name, fmt.Sprintf("must be a whole number from %d to %d", least, most))
	}
	return n, nil
}
