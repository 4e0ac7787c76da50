//go:build !linux

package oauth

import (
	"net"
	"time"
)

// setUserTimeout does nothing: this platform has no TCP_USER_TIMEOUT.
func setUserTimeout(*net.TCPConn, time.Duration) {}
