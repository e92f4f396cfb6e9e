"""Devices and processes as one machine."""
