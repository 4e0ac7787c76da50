variable "client_id" {
  type        = string
  description = "The client id that Pagero gave you."
}

variable "client_secret" {
  type        = string
  sensitive   = true
  description = "The client secret. It will be in the state."
}

variable "redirect_uris" {
  type        = list(string)
  default     = []
  description = "Vault's callback as it is registered at Pagero, such as https://vault.example.com/v1/pagero/callback."
}

variable "client_urls" {
  type        = map(string)
  default     = {}
  description = "token_url, authorize_url, revoke_url and ca_cert, where the server is not Pagero's own."
}

variable "allowed_hosts" {
  type        = list(string)
  default     = ["*.pageroonline.com"]
  description = "The hosts that clients may name."
}

variable "refresh_token" {
  type        = string
  sensitive   = true
  default     = null
  description = "Takes over a refresh token that exists already. It will be in the state. null: the account is enrolled by a login."
}

variable "min_ttl" {
  type        = number
  default     = 120
  description = "Seconds of life that an access token has left at least. An integer: what Vault returns is compared with it."
}

variable "auto_refresh" {
  type        = bool
  default     = false
  description = "Refresh the token in the background."
}
