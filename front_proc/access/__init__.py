"""Who may come in, and who may do what.

admission       how many may be connected
rights          roles, on which resources; by address and by token
gate            every request of every language is judged here
token_file      the tokens and their roles
own_doors       which resource names lead back to the daemon itself
"""
