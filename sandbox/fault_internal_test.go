package sandbox

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestStrikeSpendsTheDelayAndTellsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newFaultTable()
		handle, err := table.add(Fault{Delay: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		go handle.strike(nil)
		if err := handle.Wait(t.Context(), 1); err != nil || time.Since(began) != 0 {
			t.Errorf("told after %s, error %v", time.Since(began), err)
		}
		handle.strike(nil)
		if took := time.Since(began); took != time.Hour {
			t.Errorf("the delay took %s, want 1h", took)
		}
	})
}

func TestDelaysVaryByTheJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handle, err := newFaultTable().add(Fault{Delay: 100 * time.Millisecond, Jitter: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		least, most := time.Hour, time.Duration(0)
		for range 1000 {
			began := time.Now()
			handle.strike(nil)
			least, most = min(least, time.Since(began)), max(most, time.Since(began))
		}
		if least < 50*time.Millisecond || least > 60*time.Millisecond || most > 150*time.Millisecond || most < 140*time.Millisecond {
			t.Errorf("the delays were between %s and %s", least, most)
		}
	})
}

func TestStrikeIsCutShortByTheServersEnd(t *testing.T) {
	for _, fault := range []Fault{{Delay: time.Hour}, {Action: ActionHold}} {
		synctest.Test(t, func(t *testing.T) {
			handle, err := newFaultTable().add(fault)
			if err != nil {
				t.Fatal(err)
			}
			closing, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			handle.strike(closing.Done())
			if took := time.Since(began); took != time.Minute {
				t.Errorf("%+v took %s, want 1m", fault, took)
			}
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handle, err := newFaultTable().add(Fault{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := handle.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the deadline", err)
		}
	})
}

func TestFaultsEndWithTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newFaultTable()
		handle, err := table.add(Fault{Lasts: time.Minute, Action: ActionHold})
		if err != nil {
			t.Fatal(err)
		}
		c := &call{endpoint: EndpointToken}
		if table.take(c, false) != handle {
			t.Error("it does not apply at first")
		}
		began := time.Now()
		handle.strike(nil) // until it ends
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it held for %s, want 1m", took)
		}
		if table.take(c, false) != nil {
			t.Error("it still applies")
		}
	})
}
