# What watches may do: numbers for Prometheus, and for a person the names of the accounts behind them.
path "pagero/metrics" {
  capabilities = ["read"]
}
path "pagero/status" {
  capabilities = ["read"]
}
