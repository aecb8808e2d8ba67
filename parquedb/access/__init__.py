"""Who may do what: permissions, and those who hold them. Pure; how a caller proves who it is belongs to the gateway."""
