"""Tables: a pure function of records and published numbers to text; equal input gives equal bytes."""
