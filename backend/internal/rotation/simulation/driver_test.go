package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

const (
	accounts = 5
	steps    = 400
)

// driver decides who does what and when.
type driver struct {
	*world
	people sync.WaitGroup // readers and operators under way
	met    int            // how many there were
	names  []string
	// rewriting and removing count, by account, who writes the same again and who
	// deletes the account at the moment.
	rewriting, removing map[string]int
}

// run plays the history of a seed: a time of faults, then a calm time in which
// everything has to recover.
func (w *world) run() {
	d := &driver{world: w, rewriting: map[string]int{}, removing: map[string]int{}}
	for i := range accounts {
		name := fmt.Sprintf("acct%d", i)
		d.names = append(d.names, name)
		d.enrol(name)
		w.nap("driver", time.Nanosecond, time.Millisecond) // who comes next comes later
	}
	for range steps {
		d.step()
		w.nap("driver", time.Microsecond, d.pace())
		d.revive()
	}
	w.mu.Lock()
	w.calm, w.garbled, w.storage.down = true, false, false
	for _, p := range w.processes {
		p.setClock()
	}
	w.clients.write(w.server.secret)
	w.log("calm")
	w.mu.Unlock()
	d.settle()
	d.finish()
}

// pace is how long the driver rests at the most: now and then for as long as a
// token lives, mostly for seconds.
func (d *driver) pace() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.stream("driver")
	switch {
	case r.IntN(4) == 0:
		return tokenLifetime
	case r.IntN(3) == 0:
		return time.Minute
	}
	return 3 * time.Second
}

// step does one thing.
func (d *driver) step() {
	d.mu.Lock()
	kicked := d.active
	kick := d.stream("driver").IntN(8) == 0
	d.mu.Unlock()
	if kick {
		kicked.Tick() // as Vault does every minute
		d.nap("driver", time.Nanosecond, time.Millisecond)
	}
	d.mu.Lock()
	r := d.stream("driver")
	name := d.names[r.IntN(len(d.names))]
	what := r.IntN(100)
	active := d.active
	d.mu.Unlock()
	switch {
	case what < 60:
		d.readers(name)
	case what < 68:
		d.person(func(ctx context.Context) { d.force(ctx, active, name) })
	case what < 72:
		d.enrol(name)
	case what < 74:
		d.person(func(ctx context.Context) { d.writeAgain(ctx, active, name) })
	case what < 76:
		d.person(func(ctx context.Context) { d.remove(ctx, active, name, what%2 == 0) })
	case what < 80:
		d.rotateSecret(what%2 == 0)
	case what < 83:
		d.stepDown(active, true)
	case what < 86:
		d.stepDown(active, false)
	case what < 88:
		d.mu.Lock()
		d.die(active, "killed")
		d.mu.Unlock()
	case what < 91:
		d.mu.Lock()
		d.storage.down = !d.storage.down
		d.log("storage down: %v", d.storage.down)
		d.mu.Unlock()
	case what < 93:
		d.revoke(name)
	case what < 95:
		active.Invalidate(name)
	case what < 97:
		d.impatient(name)
	case what < 99:
		d.logIn(name)
	default:
		d.trouble(active, name)
	}
}

// trouble is what is rare: a clock is set, answers are garbled for a while, or somebody
// writes nonsense over a grant.
func (d *driver) trouble(active *process, name string) {
	d.mu.Lock()
	what := d.stream("driver").IntN(3)
	switch what {
	case 0:
		active.setClock()
	case 1:
		d.garbled = !d.garbled
		d.log("answers are garbled: %v", d.garbled)
	}
	d.mu.Unlock()
	if what == 2 {
		d.person(func(ctx context.Context) { d.mistype(ctx, active, name) })
	}
}

// mistype writes nonsense over a grant that may live. If four grants wait already, it may
// give way to them.
func (d *driver) mistype(ctx context.Context, p *process, name string) {
	e, found := d.stored(name)
	if !found {
		return
	}
	d.mu.Lock()
	waiting := 0
	for _, g := range e.Grants {
		if g.Replaced {
			waiting++
		}
	}
	if t := d.server.tokens[e.Grants[0].RefreshToken]; t != nil && !t.used && !t.grant.revoked && e.Grants[0].Death == nil && waiting < 4 {
		d.mistyped[name] = t.grant
	}
	d.server.count++
	typo := fmt.Sprintf("typo-%d-%s", d.server.count, name)
	d.log("somebody writes %s over the grant of %s", typo, name)
	d.mu.Unlock()
	_, _ = p.Write(ctx, name, account.Change{RefreshToken: oauth.NewSecret(typo)})
}

// person lets somebody do something for a minute at most, while all goes on.
func (d *driver) person(do func(ctx context.Context)) {
	ctx := d.introduce()
	d.people.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
		defer cancel()
		do(ctx)
	})
}

// introduce returns a context that says who asks: each person is another. Only
// the driver calls it.
func (d *driver) introduce() context.Context {
	d.met++
	return context.WithValue(context.Background(), person{}, fmt.Sprintf("person %d", d.met))
}

// readers read an account; some go away before the answer is there.
func (d *driver) readers(name string) {
	d.mu.Lock()
	r := d.stream("driver")
	count := 1 + r.IntN(4)
	patience := time.Duration(1 + r.Int64N(int64(40*time.Second)))
	ask := account.ReadRequest{MinTTL: time.Duration(r.IntN(2)) * time.Duration(r.Int64N(int64(tokenLifetime)))}
	p := d.active
	d.mu.Unlock()
	for range count {
		ctx := d.introduce()
		d.people.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			_ = d.read(ctx, p, name, ask)
		})
		d.nap("driver", time.Nanosecond, time.Millisecond)
	}
}

// impatience is no fraction of the time that a person has, so that the two do not
// end at the same instant.
const impatience = 397_003 * time.Microsecond

// impatient is a reader who does not wait for what is asked of it.
func (d *driver) impatient(name string) {
	p := d.active
	d.person(func(ctx context.Context) {
		for ctx.Err() == nil {
			_ = d.read(ctx, p, name, account.ReadRequest{})
			time.Sleep(impatience)
		}
	})
}

// read is what the backend does for a reader, less the answer from memory.
func (d *driver) read(ctx context.Context, p *process, name string, ask account.ReadRequest) error {
	answer, shared, err := p.Shared(ctx, name, settings, ask)
	if !shared && err == nil {
		answer, err = p.Token(ctx, name, ask)
	}
	d.mu.Lock()
	dead := p.dead
	d.mu.Unlock()
	if !dead {
		d.checkAnswer(p, name, answer, err)
	}
	return err
}

func (d *driver) force(ctx context.Context, p *process, name string) {
	d.mu.Lock()
	d.forcing[name]++
	d.mu.Unlock()
	_, _ = p.Refresh(ctx, name)
	d.mu.Lock()
	d.forcing[name]--
	d.mu.Unlock()
}

// enrol writes a new refresh token, half of the time with a spare, to an account
// that may exist.
func (d *driver) enrol(name string) {
	d.mu.Lock()
	c := account.Change{RefreshToken: oauth.NewSecret(d.server.login(name))}
	if d.stream("driver").IntN(2) == 0 {
		c.SpareRefreshToken = oauth.NewSecret(d.server.login(name))
	}
	auto := d.stream("driver").IntN(3) == 0
	c.Settings = func(s *account.Settings) { s.AutoRefresh = auto }
	d.enrolled[name] = c
	delete(d.mistyped, name)
	p := d.active
	d.mu.Unlock()
	d.person(func(ctx context.Context) { d.write(ctx, p, name, c) })
}

func (d *driver) write(ctx context.Context, p *process, name string, c account.Change) {
	_, _ = p.Write(ctx, name, c)
}

// logIn lets somebody log in with a browser: for a grant, or for a spare of an
// account that is there.
func (d *driver) logIn(name string) {
	d.mu.Lock()
	code := oauth.Code{Code: oauth.NewSecret(d.server.authorize(name)), RedirectURI: name}
	delete(d.mistyped, name)
	asSpare := d.stream("driver").IntN(2) == 0
	p := d.active
	d.mu.Unlock()
	d.person(func(ctx context.Context) {
		_, _, err := p.LogIn(ctx, name, rotation.Login{Code: &code, Client: account.DefaultClient, AsSpare: asSpare})
		d.mu.Lock()
		defer d.mu.Unlock()
		d.log("a login of %s (spare: %v) ended: %v", name, asSpare, err)
	})
}

func (d *driver) remove(ctx context.Context, p *process, name string, revoke bool) {
	d.mu.Lock()
	allowed := d.rewriting[name] == 0
	d.removing[name]++
	d.mu.Unlock()
	if allowed {
		_, _ = p.Delete(ctx, name, revoke)
	}
	d.mu.Lock()
	d.removing[name]--
	d.mu.Unlock()
}

// writeAgain writes what the account was enrolled with once more, as a script does
// that runs again. For an account that is deleted meanwhile that would be a replay by
// the script.
func (d *driver) writeAgain(ctx context.Context, p *process, name string) {
	d.mu.Lock()
	c, exists := d.enrolled[name]
	allowed := d.removing[name] == 0 && exists && d.storage.entries[rotation.StoragePrefix+name] != nil
	d.rewriting[name]++
	d.mu.Unlock()
	if allowed {
		_, _ = p.Write(ctx, name, c)
	}
	d.mu.Lock()
	d.rewriting[name]--
	d.mu.Unlock()
}

// rotateSecret changes the client secret, at the server or in Vault first.
func (d *driver) rotateSecret(atServer bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	secret, previous := d.clients.secrets()
	if atServer {
		d.server.secret = secret
	} else if previous == "" || d.stream("driver").IntN(3) == 0 { // now and then a wrong one
		secret = fmt.Sprintf("secret-%d", d.stream("driver").IntN(1000))
		d.clients.write(secret)
	}
	d.log("server has %s, Vault has %s", d.server.secret, secret)
}

// stepDown makes another process the active one: in order, with a Clean that may
// still write, or at once, as by a partition, behind which the old one lives on.
func (d *driver) stepDown(p *process, inOrder bool) {
	d.mu.Lock()
	dead := p.dead
	d.mu.Unlock()
	if dead {
		return
	}
	if inOrder {
		d.closeInOrder(p)
		d.nap("driver", time.Microsecond, time.Millisecond) // readers see it first
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log("%s steps down (in order: %v)", p.id, inOrder)
	d.forget(p)
	d.startProcess()
	if !inOrder {
		d.people.Go(func() {
			d.nap("driver of "+p.id, time.Second, time.Minute)
			d.close(p)
		})
	}
}

// close closes a process. One that dies meanwhile never ends.
func (d *driver) close(p *process) {
	done := make(chan struct{})
	d.people.Go(func() {
		p.Close()
		close(done)
	})
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
	}
}

// closeInOrder closes a process, which has to wait for the POSTs under way.
func (d *driver) closeInOrder(p *process) {
	d.close(p)
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, posting := range d.inFlight {
		if posting.by == p && !p.dead {
			d.violated("%s was closed while its POST for %s is under way", p.id, name)
		}
	}
}

// revoke ends an account's grant at the server.
func (d *driver) revoke(name string) {
	e, found := d.stored(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !found {
		return
	}
	if t := d.server.tokens[e.Grants[0].RefreshToken]; t != nil {
		t.grant.revoked, t.grant.ended = true, true
		d.log("the grant of %s is revoked", t.text)
	}
}

// revive starts a process where the active one is dead, after a while.
func (d *driver) revive() {
	d.mu.Lock()
	dead := d.active.dead
	d.mu.Unlock()
	if dead {
		d.nap("driver", time.Millisecond, 30*time.Second)
		d.mu.Lock()
		d.startProcess()
		d.mu.Unlock()
	}
}

// settle reads all accounts for as long as the longest wait takes, then checks
// what their readers get.
func (d *driver) settle() {
	last := map[string]error{}
	for range 140 {
		for _, name := range d.names {
			d.revive() // a process may still die of a fault from before
			last[name] = d.readToTheEnd(name)
		}
		d.nap("driver", 25*time.Second, 35*time.Second)
	}
	for _, name := range d.names {
		d.checkEnd(name, last[name])
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for text := range d.active.received {
		d.violated("%s was received by %s and is not saved though all faults are over", text, d.active.id)
	}
}

// readToTheEnd reads an account and waits for the answer, which never comes
// where the process dies meanwhile.
func (d *driver) readToTheEnd(name string) error {
	p, done := d.active, make(chan error, 1)
	d.person(func(ctx context.Context) { done <- d.read(ctx, p, name, account.ReadRequest{}) })
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Minute):
		return errors.New("no answer")
	}
}

// finish ends all goroutines: first those of the living, then those of the dead.
func (d *driver) finish() {
	d.close(d.active)
	close(d.over)
	for _, p := range d.processes {
		p.Close()
	}
	d.people.Wait()
}
