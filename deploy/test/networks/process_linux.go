package networks

import "syscall"

// processAttributes makes a process the first of its group, and end with this one.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
