package crashfixture

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Random draws random durations for a test. It is safe for concurrent use.
type Random struct{ draws chan *rand.Rand }

// NewRandom returns a Random and logs its seed.
func NewRandom(t *testing.T) Random {
	t.Helper()
	seed := rand.Uint64() //nolint:gosec // durations are no secret
	t.Logf("the random durations have the seed %d", seed)
	r := Random{draws: make(chan *rand.Rand, 1)}
	r.draws <- rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // as above
	return r
}

// UpTo returns a random duration below limit.
func (r Random) UpTo(limit time.Duration) time.Duration {
	source := <-r.draws
	defer func() { r.draws <- source }()
	return time.Duration(source.Int64N(int64(limit)))
}
