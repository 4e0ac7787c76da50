package backend

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// system is Vault as the plugin sees it. It counts the questions, because each is a
// round trip. The plugin must not ask questions that are not faked here.
type system struct {
	logical.SystemView
	mu    sync.Mutex
	state consts.ReplicationState
	local bool
	asked int
	later int // the number of questions before it becomes a performance standby; 0 for never
	delay time.Duration
}

func (s *system) become(state consts.ReplicationState, local bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.local = state, local
}

// stepDown makes it a performance standby when it is asked for its state the
// nth time.
func (s *system) stepDown(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.later = consts.ReplicationPerformancePrimary, n
}

// answersAfter makes each question take a while.
func (s *system) answersAfter(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

func (s *system) wait() {
	s.mu.Lock()
	delay := s.delay
	s.mu.Unlock()
	if delay > 0 {
		<-time.After(delay)
	}
}

func (s *system) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *system) ReplicationState() consts.ReplicationState {
	s.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.later--; s.later == 0 {
		s.state = consts.ReplicationPerformanceStandby
	}
	return s.state
}

func (s *system) LocalMount() bool {
	s.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.local
}

func (s *system) PluginEnv(context.Context) (*logical.PluginEnvironment, error) {
	return &logical.PluginEnvironment{VaultVersion: "1.21.2"}, nil
}

// GetConsumptionBillingManager is asked once, at the set-up.
func (s *system) GetConsumptionBillingManager() logical.ConsumptionBillingManager { return nil }

// logBuffer keeps what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
