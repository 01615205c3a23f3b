"""placeholder while the mechanism stage is written"""
