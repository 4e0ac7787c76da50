# Enrols accounts, by logins and by writing refresh tokens, and sees how they are. Reads no token, forces no exchange, changes
# no client and no setting, deletes nothing.
#
# He can replace the grant of every account below, and so decide which Pagero user a reader of it acts as. Where that is too
# much, take "update" of pagero/accounts/+ away: then he enrols new accounts only.

path "pagero/authorize/+" {
  capabilities = ["update"]
}

path "pagero/accounts" {
  capabilities = ["list"]
}

# What is not listed here, Vault refuses with 403 before the plugin sees it: username and password (nobody shall try passwords
# at Pagero through Vault), keep_password, and refresh_on_read (every read would force an exchange).
path "pagero/accounts/+" {
  capabilities = ["create", "read", "update"]

  allowed_parameters = {
    "client"              = []
    "refresh_token"       = []
    "spare_refresh_token" = []
    "auto_refresh"        = []
    "min_ttl"             = []
  }
}
