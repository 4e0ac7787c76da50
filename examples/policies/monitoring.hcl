# Sees how everything is, for Prometheus and whoever is on call: starts no exchange, changes nothing, reads no token.
# The names of the accounts, which may be customers, are in status and accounts; metrics name nobody. For a scraper that needs no
# more than numbers, keep the second rule only.

path "pagero/status" {
  capabilities = ["read"]
}

path "pagero/metrics" {
  capabilities = ["read"]
}

path "pagero/accounts" {
  capabilities = ["list"]
}

path "pagero/accounts/+" {
  capabilities = ["read"]
}
