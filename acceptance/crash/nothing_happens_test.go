package crash

import (
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestNothingIsLostWhenNothingHappens(t *testing.T) {
	t.Parallel()
	f := crashfixture.New(fixture.New(t), 6, 5*time.Second)
	if tally := f.Check(); tally.Exchanges != 12 || tally.MostPresentations != 1 || tally.LostAnswers != 0 {
		t.Errorf("the tally is %s", tally)
	}
}
