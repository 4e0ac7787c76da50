package report

import (
	"fmt"
	"math"
	"strings"
)

// ratio is a summary of ratios for a table.
func ratio(s Summary) string { return fmt.Sprintf("**%.2f** (%.2f–%.2f)", s.Median, s.Low, s.High) }

// spread is a summary of figures for a table.
func spread(s Summary) string {
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Low), number(s.High))
}

// number prints a figure with three digits that count, more where it is larger.
func number(x float64) string {
	digits := 2 - int(math.Floor(math.Log10(math.Max(math.Abs(x), 0.001))))
	return fmt.Sprintf("%.*f", min(max(digits, 0), 3), x)
}

// percent prints a part of one.
func percent(s Summary) string { return fmt.Sprintf("%.0f %%", 100*s.Median) }

// atLeast says whether the median of a ratio reaches an aim.
func atLeast(aim float64, s Summary) string { return verdict(s.Median >= aim, s.High >= aim) }

// atMost says whether it stays within one.
func atMost(aim float64, s Summary) string { return verdict(s.Median <= aim, s.Low <= aim) }

// within says so for one figure.
func within(aim, x float64) string { return verdict(x <= aim, false) }

// verdict is met, missed, or missed with rounds that met the aim.
func verdict(met, sometimes bool) string {
	switch {
	case met:
		return "met"
	case sometimes:
		return "missed, met in some rounds"
	default:
		return "missed"
	}
}

// indent makes a block of code of a text.
func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

// last is the rung with the most accounts.
func last(rungs []Rung) Rung { return rungs[len(rungs)-1] }

// growth is the latency from memory with the most accounts to that with the fewest.
func growth(l Ladder) string {
	return "**" + number(last(l.Rungs).Warm.P50.Median/l.Rungs[0].Warm.P50.Median) + "**"
}

// ratioOf is the ratio of two medians.
func ratioOf(ours, theirs Summary) string { return "**" + number(ours.Median/theirs.Median) + "**" }

// sum adds numbers up.
func sum(numbers ...int) float64 {
	total := 0
	for _, n := range numbers {
		total += n
	}
	return float64(total)
}

// connections counts them in words.
func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// lastIdle is the last state that was watched.
func lastIdle(idle []Idle) Idle { return idle[len(idle)-1] }
