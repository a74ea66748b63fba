"""What is true of users: lifecycle, identity, the event each change leaves. No HTTP, no GraphQL."""
