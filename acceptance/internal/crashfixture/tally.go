package crashfixture

import "fmt"

// Tally counts what happened to the accounts.
type Tally struct {
	accounts, withSpare int
	Exchanges           int            // refresh tokens that were presented at the server
	Succeeded           int            // exchanges that issued a new refresh token
	MostPresentations   int            // the most presentations of one refresh token
	replays             int            // presentations of a token whose successor was not lost
	LostWithSpare       int            // accounts that had a spare and need a new login
	LostWithoutSpare    int            // accounts that had none and need a new login
	LostAnswers         int            // answers with a new refresh token that nobody could have saved
	Kills               int            // processes that ended
	Takeovers           int            // presentations of a token after a kill had interrupted its first exchange
	SparesUsed          int            // spares that took over
	Reenrolled          int            // accounts without a spare that died and were enrolled again
	lostBy              map[string]int // lost answers, by their cause
}

// String returns one line, which programs can parse, too.
func (tally Tally) String() string {
	return fmt.Sprintf("accounts=%d with_spare=%d exchanges=%d succeeded=%d most_presentations=%d replays=%d "+
		"lost_with_spare=%d lost_without_spare=%d lost_answers=%d kills=%d takeovers=%d spares_used=%d reenrolled=%d",
		tally.accounts, tally.withSpare, tally.Exchanges, tally.Succeeded, tally.MostPresentations, tally.replays,
		tally.LostWithSpare, tally.LostWithoutSpare, tally.LostAnswers, tally.Kills, tally.Takeovers, tally.SparesUsed, tally.Reenrolled)
}
