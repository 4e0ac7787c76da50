package simulation

import (
	"context"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// postFault is what becomes of one POST.
type postFault int

const (
	postGoesWell      postFault = iota
	postNotSent                 // no connection
	postLost                    // it never arrives
	postAnswerLost              // it arrives, its answer does not
	postAnswerOdd               // the answer holds no access token
	postRefusedBefore           // 503, nothing was done
	postRefusedAfter            // 502, it was done
	postThrottled               // 429
	postOddRefusal              // 400 invalid_request
	postHangs                   // no answer within the time-out, and it arrives
	postCrashBefore             // the process dies before it is sent
	postCrashBetween            // the process dies while it is on its way
	postCrashAfter              // the process dies when the answer is there
	postFaults
)

// wire is the network between a process and the server.
type wire struct{ *process }

// Refresh implements account.Exchanger.
func (n wire) Refresh(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result {
	w, text := n.world, refreshToken.Reveal()
	w.mu.Lock()
	if n.dead {
		w.mu.Unlock()
		w.end()
		return oauth.Result{}
	}
	t := w.server.tokens[text]
	if t == nil && strings.HasPrefix(text, "typo") {
		t = &token{text: text, grant: &grantOf{account: text[strings.LastIndex(text, "-")+1:], revoked: true, ended: true}}
		w.server.tokens[text] = t
	}
	name := t.grant.account
	w.presenting(n.process, t)
	w.exchanges++
	w.inFlight[name] = posting{n.process, t.grant}
	answer := n.send(ctx, post{
		account: name, what: text,
		arrives: func() oauth.Result { return w.server.grant(client.Secret.Reveal(), text) },
		lost:    func(oauth.Result) { t.grant.lost = true },
	})
	if w.inFlight[name].by == n.process {
		delete(w.inFlight, name)
	}
	if !n.dead {
		w.answered(n.process, t, answer)
	}
	dead := n.dead
	w.mu.Unlock()
	if dead {
		w.end()
	}
	return answer
}

// RedeemCode implements account.Exchanger.
func (n wire) RedeemCode(ctx context.Context, client oauth.Client, code oauth.Code) oauth.Result {
	w, text := n.world, code.Code.Reveal()
	w.mu.Lock()
	answer := n.send(ctx, post{
		account: code.RedirectURI, what: text, // the account's name stands in for the URI
		arrives: func() oauth.Result { return w.server.redeem(client.Secret.Reveal(), text) },
		lost:    func(r oauth.Result) { w.server.tokens[r.Tokens.RefreshToken.Reveal()].grant.lost = true },
	})
	if !n.dead && answer.Outcome == oauth.Succeeded {
		w.pathSeen(n.process, answer) // it opens the gate
		w.received(n.process, w.server.tokens[answer.Tokens.RefreshToken.Reveal()])
	}
	dead := n.dead
	w.mu.Unlock()
	if dead {
		w.end()
	}
	return answer
}

// LogIn implements account.Exchanger; nobody keeps a password here.
func (n wire) LogIn(context.Context, oauth.Client, oauth.Credentials) oauth.Result {
	return oauth.Result{Outcome: oauth.NotSent, Reason: "no connection"}
}

// Probe implements rotation.Exchanger. A probe costs nothing, whatever happens to it.
func (n wire) Probe(ctx context.Context, _ oauth.Client) oauth.Result {
	w := n.world
	w.mu.Lock()
	lost := n.dead || w.garbled || !w.calm && w.stream("probes of "+n.id).IntN(4) == 0
	w.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		lost = true
	}
	if lost {
		return oauth.Result{Reason: "no answer came"}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.broken, n.lost = time.Time{}, 0
	return reject(oauth.CodeInvalidGrant)
}

// Revoke implements account.Exchanger: it reaches the server, or it does not.
func (n wire) Revoke(_ context.Context, _ oauth.Client, refreshToken oauth.Secret) oauth.Result {
	w, text := n.world, refreshToken.Reveal()
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.server.tokens[text]
	if n.dead || w.stream("revocations of "+n.id+" "+t.grant.account).IntN(3) == 0 {
		return oauth.Result{Outcome: oauth.NotSent, Reason: "no connection"}
	}
	t.grant.revoked, t.grant.ended = true, true
	w.log("%s revokes the grant of %s", n.id, text)
	return oauth.Result{Outcome: oauth.Succeeded}
}

// post is a POST that a process sends.
type post struct {
	account, what string
	// arrives is what the server does; lost is called where its answer, with
	// tokens, reaches nobody. The caller holds mu.
	arrives func() oauth.Result
	lost    func(oauth.Result)
}

// send decides what becomes of a POST. The caller holds mu, which is free while
// the POST is under way.
func (n wire) send(ctx context.Context, p post) oauth.Result {
	w := n.world
	stream := w.stream("network of " + n.id + " " + p.account)
	f := postGoesWell
	if !w.calm && stream.IntN(100) < 25 {
		f = postFault(stream.IntN(int(postFaults)))
	}
	there := time.Duration(stream.Int64N(int64(2 * time.Second)))
	back := time.Duration(stream.Int64N(int64(2 * time.Second)))
	if f == postCrashBefore {
		w.die(n.process, "before a POST")
	}
	w.log("%s presents %s (fault %d)", n.id, p.what, f)
	w.mu.Unlock()

	sent := n.now()
	offset := time.Until(sent) // the clock may be set before the answer is there
	answer := n.carry(ctx, f, p, there, back)
	answer.SentAt, answer.AnsweredAt = sent, n.now()

	w.mu.Lock()
	w.obtained(offset, answer)
	if n.dead && answer.Outcome == oauth.Succeeded {
		p.lost(answer)
	}
	return answer
}

// carry takes one POST to the server and its answer back.
func (n wire) carry(ctx context.Context, f postFault, p post, there, back time.Duration) oauth.Result {
	inDoubt := oauth.Result{Reason: "no answer came"}
	sleep := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return false
		}
	}
	w := n.world
	arrive := func() oauth.Result {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n.dead && w.stream("network of "+n.id+" "+p.account).IntN(2) == 0 {
			return inDoubt // it died with its process
		}
		r := p.arrives()
		if r.Outcome == oauth.Succeeded && (n.dead || f == postAnswerLost || f == postRefusedAfter || f == postHangs || f == postCrashAfter || f == postCrashBetween) {
			p.lost(r)
		}
		return r
	}
	sent := sleep(there)
	switch f {
	case postCrashBefore:
		return inDoubt
	case postCrashBetween:
		w.mu.Lock()
		w.die(n.process, "while a POST is on its way")
		w.mu.Unlock()
	case postNotSent:
		return oauth.Result{Outcome: oauth.NotSent, Reason: "no connection"}
	case postLost:
		sleep(back)
		return inDoubt
	case postRefusedBefore:
		return oauth.Result{Reason: "the server answered HTTP status 503", Status: 503}
	case postThrottled:
		return oauth.Result{Outcome: oauth.Rejected, Status: 429, Reason: "too many requests", RetryAfter: there * 20}
	case postOddRefusal:
		return oauth.Result{Outcome: oauth.Rejected, Status: 400, Code: oauth.CodeInvalidRequest, Reason: "the server answered invalid_request"}
	}
	if !sent {
		return inDoubt // closed before it had all arrived
	}
	r := arrive()
	if f == postHangs {
		<-ctx.Done()
		return inDoubt
	}
	if !sleep(back) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if r.Outcome == oauth.Succeeded {
			p.lost(r)
		}
		return inDoubt
	}
	w.mu.Lock()
	garbled := w.garbled
	w.mu.Unlock()
	if garbled {
		w.mu.Lock()
		defer w.mu.Unlock()
		if r.Outcome == oauth.Succeeded {
			p.lost(r)
		}
		return oauth.Result{Outcome: oauth.Unreadable, Status: 200, Reason: "the answer is not JSON"}
	}
	switch f {
	case postCrashAfter:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.die(n.process, "when an answer is there")
	case postAnswerLost, postRefusedAfter:
		return inDoubt
	case postAnswerOdd:
		r.Tokens.AccessToken = oauth.Secret{}
	}
	return r
}
