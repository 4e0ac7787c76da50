# One more file, whose token lives longer than that of the others, beside agent.hcl:
#
#     vault agent -config=agent.hcl -config=min-ttl.hcl
#
# It needs policy-min-ttl.hcl.

template {
  source               = "/etc/pagero-agent/templates/min-ttl.ctmpl"
  destination          = "/run/pagero/acme-long.header"
  perms                = "0600"
  error_on_missing_key = true
}
