"""Evaluation by DOTA's rules."""

from .dota_eval import dota_evaluation

__all__ = ["dota_evaluation"]
