"""Figures: a pure function of tables and rows to SVG and PNG; equal input gives equal bytes."""
